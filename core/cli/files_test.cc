// Pid files and action scripts.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "core/base/unique_fd.h"
#include "core/cli/action_scripts.h"
#include "core/cli/pid_file.h"

using namespace faultline;
using namespace faultline::cli;

namespace {

struct Sandbox {
  std::string dir = "/tmp/cli_files_test.XXXXXX";
  Sandbox() { REQUIRE(mkdtemp(dir.data())); }
  ~Sandbox() { (void)!system(("rm -rf " + dir).c_str()); }
  std::string script(const std::string& name, const std::string& text, int mode = 0755) const {
    const std::string path = dir + "/" + name;
    std::ofstream(path) << text;
    REQUIRE(chmod(path.c_str(), static_cast<mode_t>(mode)) == 0);
    return path;
  }
  std::string read(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(dir + "/" + name).rdbuf();
    return text.str();
  }
};

}  // namespace

TEST_CASE("a pid file is made once, with its content") {
  Sandbox s;
  const std::string path = s.dir + "/pid";
  REQUIRE(check_pid_file(path));
  REQUIRE(write_pid_file(path, 4711));
  CHECK(s.read("pid") == "4711");
  struct stat st;
  REQUIRE(stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  CHECK(st.st_nlink == 1);
  CHECK(check_pid_file(path).error().code == EEXIST);
  CHECK(write_pid_file(path, 1).error().code == EEXIST);
  CHECK(s.read("pid") == "4711");
  CHECK(check_pid_file(""));
  CHECK(write_pid_file("", 1));
  CHECK_FALSE(write_pid_file(s.dir + "/absent/pid", 1));
}

TEST_CASE("scripts are told what they need, the last added runs first") {
  Sandbox s;
  const std::string body = "echo \"$0 $# $CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID $(readlink $CRTOOLS_IMAGE_DIR)\" >> " + s.dir + "/out\n";
  const std::string first = s.script("first", "#!/bin/sh\n" + body);
  const std::string second = s.script("second", body);  // no "#!" line
  setenv("CRTOOLS_INIT_PID", "99", 1);                  // must not reach the script
  UniqueFd images(::open(s.dir.c_str(), O_RDONLY | O_DIRECTORY));
  auto scripts = ActionScripts::find({first, second}, "/", images.get());
  REQUIRE(scripts);
  REQUIRE(scripts->run("pre-dump"));
  scripts->set_init_pid(17);
  REQUIRE(scripts->run("post-dump"));
  unsetenv("CRTOOLS_INIT_PID");
  CHECK(s.read("out") == second + " 0 pre-dump  " + s.dir + "\n" + first + " 0 pre-dump  " + s.dir + "\n" +
                             second + " 0 post-dump 17 " + s.dir + "\n" + first + " 0 post-dump 17 " + s.dir + "\n");
}

TEST_CASE("all scripts run even if one fails, and the failure is told") {
  Sandbox s;
  const std::string good = s.script("good", "#!/bin/sh\ntouch " + s.dir + "/ran\n");
  const std::string bad = s.script("bad", "#!/bin/sh\nexit 7\n");
  auto scripts = ActionScripts::find({good, bad}, "/", 0);
  REQUIRE(scripts);
  const auto result = scripts->run("post-dump");
  REQUIRE_FALSE(result);
  CHECK(result.error().what.find("bad ended with exit code 7 at post-dump") != std::string::npos);
  CHECK(scripts->exit_code() == 7);
  CHECK(access((s.dir + "/ran").c_str(), F_OK) == 0);
}

TEST_CASE("a script killed by a signal counts as 128 and its number") {
  Sandbox s;
  auto scripts = ActionScripts::find({s.script("dies", "#!/bin/sh\nkill -9 $$\n")}, "/", 0);
  REQUIRE(scripts);
  REQUIRE_FALSE(scripts->run("pre-dump"));
  CHECK(scripts->exit_code() == 137);
}

TEST_CASE("a script inherits neither ignored nor blocked signals") {
  Sandbox s;
  auto scripts = ActionScripts::find({s.script("status", "#!/bin/sh\nexec grep -E '^Sig(Blk|Ign)' /proc/self/status > " + s.dir + "/out\n")}, "/", 0);
  REQUIRE(scripts);
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const auto ignored = signal(SIGPIPE, SIG_IGN);
  const auto done = scripts->run("post-restore");
  signal(SIGPIPE, ignored);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  REQUIRE(done);
  CHECK(s.read("out").find("SigBlk:\t0000000000000000\n") != std::string::npos);
  const size_t line = s.read("out").find("SigIgn:");
  REQUIRE(line != std::string::npos);
  CHECK((std::stoull(s.read("out").substr(line + 8), nullptr, 16) & (1ull << (SIGPIPE - 1))) == 0);
}

TEST_CASE("scripts are looked for before anything is begun") {
  Sandbox s;
  s.script("here", "#!/bin/sh\n");
  s.script("text", "#!/bin/sh\n", 0644);
  CHECK(ActionScripts::find({"here"}, s.dir, 0));
  CHECK(ActionScripts::find({"absent"}, s.dir, 0).error().code == ENOENT);
  CHECK_FALSE(ActionScripts::find({s.dir}, s.dir, 0));
  const auto unexecutable = ActionScripts::find({"text"}, s.dir, 0);
  REQUIRE_FALSE(unexecutable);
  CHECK(unexecutable.error().what.find("chmod +x") != std::string::npos);
}
