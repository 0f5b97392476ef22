#include "core/cli/options.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <set>

#include "core/cli/config_file.h"
#include "core/cli/help.h"
#include "core/cli/option_table.h"

using namespace faultline;
using namespace faultline::cli;

namespace {

// The environment of a test: no configuration file but those that the test makes.
struct Sandbox {
  std::string dir = "/tmp/options_test.XXXXXX";
  Sandbox() {
    REQUIRE(mkdtemp(dir.data()));
    setenv("HOME", dir.c_str(), 1);
    unsetenv("CRIU_CONFIG_FILE");
    unsetenv("CRIU_DEPRECATED");
  }
  ~Sandbox() { (void)!system(("rm -rf " + dir).c_str()); }
  std::string file(const std::string& name, const std::string& text) const {
    const std::string path = dir + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
};

Result<Options> parsed(std::vector<const char*> args, bool defaults = false) {
  args.insert(args.begin(), "faultline");
  if (!defaults) args.insert(args.begin() + 1, "--no-default-config");
  auto options = parse(args);
  if (options && !defaults) options->no_default_config = false;
  return options;
}

Options good(std::vector<const char*> args, bool defaults = false) {
  auto options = parsed(std::move(args), defaults);
  INFO((options ? "" : options.error().what));
  REQUIRE(options);
  return *options;
}

std::string bad(std::vector<const char*> args) {
  auto options = parsed(std::move(args));
  REQUIRE(!options);
  CHECK(options.error().code != 0);
  return options.error().what;
}

std::string refused(std::vector<const char*> args) {
  auto result = validate(good(std::move(args)));
  REQUIRE(!result);
  return result.error().what;
}

void accepted(std::vector<const char*> args) {
  auto result = validate(good(std::move(args)));
  INFO((result ? "" : result.error().what));
  CHECK(result);
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("options stand before and after the command") {
  Sandbox sandbox;
  const Options o = good({"-t", "42", "dump", "-D", "images", "--leave-running"});
  CHECK(o.verb == kDump);
  CHECK(o.tree == 42);
  CHECK(o.images_dir == "images");
  CHECK(o.leave_running);
  CHECK(good({"restore", "--images-dir=x"}).images_dir == "x");
}

TEST_CASE("bool options have a negative form, and the last one wins") {
  Sandbox sandbox;
  CHECK(good({"dump", "--shell-job"}).shell_job);
  CHECK(good({"dump", "-j"}).shell_job);
  CHECK_FALSE(good({"dump", "-j", "--no-shell-job"}).shell_job);
  CHECK(good({"dump", "--no-shell-job", "-j"}).shell_job);
  CHECK_FALSE(good({"restore", "--no-record"}).record);
  CHECK(good({"dump"}).progress == "auto");
  CHECK(good({"dump", "--progress"}).progress == "yes");
  CHECK(good({"dump", "--no-progress"}).progress == "no");
  // A flag has none.
  CHECK(contains(bad({"dump", "--no-leave-running"}), "no option --no-leave-running"));
  CHECK(contains(bad({"dump", "--no-shell-job=yes"}), "takes no argument"));
}

TEST_CASE("-d, --restore-detached and --daemon are one switch") {
  Sandbox sandbox;
  for (const char* arg : {"-d", "--restore-detached", "--daemon"}) CHECK(good({"restore", arg}).detached);
  CHECK_FALSE(good({"restore", "-d", "--no-daemon"}).detached);
}

TEST_CASE("long names may be abbreviated as long as they are unambiguous") {
  Sandbox sandbox;
  CHECK(good({"dump", "--ghost-l", "1K"}).ghost_limit == 1024);
  CHECK(good({"dump", "--tree=7"}).tree == 7);
  const std::string said = bad({"dump", "--leave"});
  CHECK(contains(said, "ambiguous"));
  CHECK(contains(said, "--leave-running"));
  CHECK(contains(said, "--leave-stopped"));
}

TEST_CASE("sizes have units") {
  Sandbox sandbox;
  CHECK(good({"dump"}).ghost_limit == 1048576);
  const std::pair<const char*, uint64_t> sizes[] = {{"0", 0}, {"17", 17}, {"3K", 3072}, {"2M", 2 << 20}, {"1G", 1 << 30}, {"1MB", 1 << 20}, {"1 G", 1 << 30}};
  for (const auto& [text, value] : sizes) CHECK(parse_size(text) == value);
  for (const char* text : {"", "K", "-1", "x", "1x", "18446744073709551616", "18446744073709551615K"}) CHECK_FALSE(parse_size(text));
  CHECK(contains(bad({"dump", "--ghost-limit", "many"}), "--ghost-limit"));
}

TEST_CASE("numbers are decimal and bounded") {
  Sandbox sandbox;
  for (const char* text : {"0", "-3", "", "12x", "0x10", "99999999999"}) CHECK(contains(bad({"dump", "-t", text}), "--tree"));
  CHECK(contains(bad({"dump", "-t"}), "needs an argument"));
}

TEST_CASE("verbosity is set by a number and raised by each v") {
  Sandbox sandbox;
  CHECK(good({"dump"}).verbosity == 2);
  CHECK(good({"dump", "-v"}).verbosity == 3);
  CHECK(good({"dump", "-vv"}).verbosity == 4);
  CHECK(good({"dump", "-v4"}).verbosity == 4);
  CHECK(good({"dump", "-v0"}).verbosity == 0);
  CHECK(good({"dump", "--verbosity=1"}).verbosity == 1);
  CHECK(good({"dump", "--verbosity"}).verbosity == 3);
  // The argument is optional, so that it must be attached: this 4 is a word.
  CHECK(contains(validate(good({"restore", "-v", "4"})).error().what, "too many"));
  CHECK(contains(bad({"dump", "-vx"}), "--verbosity"));
}

TEST_CASE("lists collect what is given several times") {
  Sandbox sandbox;
  CHECK(good({"dump", "--action-script", "a", "--action-script=b"}).action_script == std::vector<std::string>{"a", "b"});
  const Options o = good({"dump", "--ext-unix-sk=12,34"});
  CHECK(o.ext_unix_sk);
  CHECK(o.ext_unix_sk_inodes == std::vector<std::string>{"12", "34"});
  CHECK(good({"dump", "-x"}).ext_unix_sk);
  CHECK(contains(bad({"dump", "-x1,,2"}), "inode"));
}

TEST_CASE("choices are checked") {
  Sandbox sandbox;
  CHECK(good({"dump", "--file-validation", "filesize"}).file_validation == "filesize");
  CHECK(contains(bad({"dump", "--file-validation", "checksum"}), "filesize|buildid"));
  CHECK(good({"dump", "--manage-cgroups"}).manage_cgroups == "soft");
  CHECK(good({"dump", "--manage-cgroups=ignore"}).manage_cgroups == "ignore");
  CHECK(contains(bad({"dump", "--manage-cgroups=x"}), "--manage-cgroups"));
  CHECK(contains(bad({"restore", "--prefetch=all"}), "--prefetch"));
}

TEST_CASE("cpu-cap adds to the default and takes away") {
  Sandbox sandbox;
  CHECK(good({"dump"}).cpu_cap == (kCpuFpu | kCpuIns));
  CHECK(good({"dump", "--cpu-cap"}).cpu_cap == (kCpuAll | kCpuImage));
  CHECK(good({"dump", "--cpu-cap=none"}).cpu_cap == 0);
  CHECK(good({"dump", "--cpu-cap=none,cpu"}).cpu_cap == (kCpuCpu | kCpuImage));
  CHECK(good({"dump", "--cpu-cap=all,^fpu"}).cpu_cap == (kCpuCpu | kCpuIns | kCpuImage));
  CHECK(good({"dump", "--cpu-cap=^none"}).cpu_cap == (kCpuAll | kCpuImage));
  CHECK(contains(bad({"dump", "--cpu-cap=sse"}), "--cpu-cap"));
}

TEST_CASE("what is not implemented is refused by name, its default is not") {
  Sandbox sandbox;
  CHECK(contains(refused({"dump", "-t1", "--tcp-established"}), "--tcp-established"));
  CHECK(contains(refused({"restore", "--root", "/x"}), "--root"));
  CHECK(contains(refused({"dump", "-t1", "--link-remap"}), "--ghost-limit"));  // the way out
  CHECK(contains(refused({"dump", "-t1", "--manage-cgroups"}), "--manage-cgroups=ignore"));
  accepted({"restore", "--lazy-pages"});
  accepted({"dump", "-t1", "--no-tcp-established"});
  accepted({"dump", "-t1", "--manage-cgroups=ignore"});
  accepted({"dump", "-t1", "--tcp-established", "--no-tcp-established"});
  accepted({"dump", "-t1", "--libdir", "/usr/lib/criu"});
  accepted({"dump", "-t1", "--cpu-cap=none"});
  accepted({"restore", "--lsm-profile=none"});
}

TEST_CASE("options that contradict each other are refused") {
  Sandbox sandbox;
  CHECK(contains(refused({"dump"}), "--tree"));
  CHECK(contains(refused({"dump", "-t1", "-R", "-s"}), "--leave-stopped"));
  CHECK(contains(refused({"dump", "-t1", "--inherit-fd", "fd[3]:x"}), "--inherit-fd"));
  CHECK(contains(refused({"dump", "-t1", "-R", "--lazy-pages"}), "--leave-running"));
  CHECK(contains(refused({"dump", "-t1", "--lazy-pages", "--page-server", "--port=1"}), "--page-server"));
  accepted({"dump", "-t1", "-s", "--lazy-pages"});
  CHECK(contains(bad({"frobnicate"}), "frobnicate"));
  CHECK(contains(refused({"dump", "-t1", "word"}), "word"));
  CHECK(contains(refused({"decode"}), "FILE"));
  CHECK(good({"decode", "x.img"}).words == std::vector<std::string>{"x.img"});
}

TEST_CASE("options without effect in a command are known") {
  Sandbox sandbox;
  CHECK(good({"restore", "-t", "3", "--leave-running"}).without_effect == std::vector<std::string>{"--tree", "--leave-running"});
  CHECK(good({"dump", "-t", "3", "--leave-running"}).without_effect.empty());
  const std::string config = sandbox.file("config", "leave-running\n");
  CHECK(good({"restore", "--config", config.c_str()}, true).without_effect.empty());
}

TEST_CASE("options that have no effect as they stand together are refused, and under the name criu warned of") {
  Sandbox sandbox;
  const struct {
    std::vector<const char*> words;
    const char* option;
    std::vector<const char*> companion;
  } pairs[] = {
      {{"page-server", "--compress=zstd"}, "--compress", {"--lazy-pages"}},
      {{"page-server", "--max-clients=3"}, "--max-clients", {"--lazy-pages"}},
      {{"dump", "-t1", "--portfile=x"}, "--portfile", {"--lazy-pages"}},
      {{"dump", "-t1", "--page-timeout=3"}, "--page-timeout", {"--lazy-pages"}},
      {{"dump", "-t1", "--status-fd=3"}, "--status-fd", {"--lazy-pages"}},
      {{"dump", "-t1", "--port=3"}, "--port", {"--page-server"}},
      {{"dump", "-t1", "--tls"}, "--tls", {"--page-server", "--port=3"}},
      {{"restore", "--lazy-pages", "--checkpoint=x"}, "--checkpoint", {"--page-server", "--port=1"}},
      {{"restore", "--lazy-pages", "--on-page-loss=kill"}, "--on-page-loss", {"--page-server", "--port=1"}},
      {{"restore", "--page-timeout=3"}, "--page-timeout", {"--page-server", "--port=1"}},
      {{"lazy-pages", "--tls"}, "--tls", {"--page-server", "--port=1"}},
      {{"lazy-pages", "--address=x"}, "--address", {"--page-server", "--port=1"}},
  };
  for (const auto& [words, option, companion] : pairs) {
    INFO(words[0] << " " << option);
    CHECK(refused(words).starts_with(option));
    CHECK(contains(refused(words), companion[0]));
    std::vector<const char*> together = words;
    together.insert(together.end(), companion.begin(), companion.end());
    accepted(together);
    std::vector<const char*> criu = words;
    criu.insert(criu.begin(), {"/usr/sbin/criu", "--no-default-config"});
    const auto tolerated = parse(criu);
    REQUIRE(tolerated);
    CHECK(validate(*tolerated));
    CHECK_FALSE(tolerated->unpaired.empty());
  }
  CHECK(contains(refused({"page-server", "--lazy-pages", "--tls", "--ps-socket=3"}), "--tls has no effect with --ps-socket"));
  CHECK(contains(refused({"restore", "--page-server", "--tls", "--ps-socket=3"}), "nothing is encrypted"));
  accepted({"restore", "--page-server", "--ps-socket=3"});
  // What a configuration file says for all commands is no mistake in one of them, and may be the companion.
  const std::string config = sandbox.file("config", "page-timeout 5\ntls\n");
  CHECK(validate(good({"restore", "--config", config.c_str()}, true)));
  const std::string lazy = sandbox.file("lazy", "lazy-pages\n");
  CHECK(validate(good({"page-server", "--compress=none", "--config", lazy.c_str()}, true)));
}

TEST_CASE("the words behind -- are the command to execute") {
  Sandbox sandbox;
  const Options o = good({"--no-default-config", "restore", "--exec-cmd", "--", "ls", "-l"}, true);
  CHECK(o.exec_cmd);
  CHECK(o.words == std::vector<std::string>{"ls", "-l"});
}

TEST_CASE("a line of a configuration file is an option without dashes") {
  using Words = std::vector<std::string>;
  CHECK(*config_words("") == Words{});
  CHECK(*config_words("  # a comment") == Words{});
  CHECK(*config_words("shell-job") == Words{"--shell-job"});
  CHECK(*config_words("\t ghost-limit   10M  # comment") == Words{"--ghost-limit=10M"});
  CHECK(*config_words("manage-cgroups=ignore") == Words{"--manage-cgroups=ignore"});
  CHECK(*config_words(R"(log-file "a \"b\" # c")") == Words{R"(--log-file=a "b" # c)"});
  CHECK(*config_words(R"(log-file "back\slash")") == Words{R"(--log-file=back\slash)"});
  CHECK_FALSE(config_words("log-file \"open"));
  CHECK_FALSE(config_words("log-file a b"));
  CHECK_FALSE(config_words("--shell-job"));
}

TEST_CASE("configuration files apply in order, and the command line over them") {
  Sandbox sandbox;
  REQUIRE(mkdir((sandbox.dir + "/.criu").c_str(), 0700) == 0);
  sandbox.file(".criu/default.conf", "ghost-limit 1K\ntimeout 3\nskip-mnt /home\nshell-job\n");
  const std::string second = sandbox.file("second.conf", "timeout 4\nskip-mnt /second\n");
  const std::string given = sandbox.file("given.conf", "timeout 5\n");

  Options o = good({"dump"}, true);
  CHECK(o.ghost_limit == 1024);
  CHECK(o.timeout == 3);
  setenv("CRIU_CONFIG_FILE", second.c_str(), 1);
  o = good({"dump", "--skip-mnt", "/line", "--no-shell-job"}, true);
  CHECK(o.timeout == 4);
  CHECK(o.skip_mnt == std::vector<std::string>{"/home", "/second", "/line"});
  CHECK_FALSE(o.shell_job);
  // --config replaces the default files; the one of the environment stays, below it.
  o = good({"dump", "--config", given.c_str()}, true);
  CHECK(o.timeout == 5);
  CHECK(o.ghost_limit == 1048576);
  CHECK(o.skip_mnt == std::vector<std::string>{"/second"});
  CHECK(good({"dump", "--config", given.c_str(), "--timeout=6"}, true).timeout == 6);
  unsetenv("CRIU_CONFIG_FILE");
  CHECK(good({"dump", "--no-default-config"}, true).timeout == 10);
}

TEST_CASE("a malformed configuration file is named with its line") {
  Sandbox sandbox;
  for (const char* line : {"no-such-option", "dump", "tree x", "shell-job yes", "log-file \"x", "help", "config /x", "tree"}) {
    const std::string path = sandbox.file("bad.conf", std::string("# first\n") + line + "\n");
    const std::string said = bad({"dump", "--config", path.c_str()});
    INFO(line << ": " << said);
    CHECK(contains(said, "bad.conf:2: "));
  }
  CHECK(parsed({"dump", "--config", (sandbox.dir + "/absent").c_str()}));
}

TEST_CASE("deprecated features can be allowed by the environment") {
  Sandbox sandbox;
  CHECK_FALSE(good({"dump"}).deprecated);
  setenv("CRIU_DEPRECATED", "1", 1);
  CHECK(good({"dump"}).deprecated);
  unsetenv("CRIU_DEPRECATED");
}

TEST_CASE("TLS and who may use the network") {
  Sandbox sandbox;
  for (const char* verb : {"restore", "lazy-pages"}) accepted({verb, "--page-server", "--port=1", "--tls", "--tls-cacert=x", "--tls-cert=x", "--tls-key=x"});
  accepted({"page-server", "--tls", "--tls-cacert=x", "--tls-cert=x", "--tls-key=x"});
  const Options o = good({"page-server", "--tls", "--allow", "a", "--allow=b", "--insecure-network"});
  CHECK(o.allow == std::vector<std::string>{"a", "b"});
  CHECK(o.insecure_network);
  CHECK(contains(refused({"page-server", "--allow=a"}), "--tls"));
  CHECK(contains(refused({"dump", "-t1", "--lazy-pages", "--allow=a"}), "--tls"));
  accepted({"dump", "-t1", "--lazy-pages", "--tls", "--allow=a"});
  CHECK(contains(refused({"pre-dump", "--tls"}), "--tls is not implemented"));
}

TEST_CASE("the name of the program is known") {
  Sandbox sandbox;
  const char* const criu[] = {"/usr/sbin/criu", "check"};
  const char* const own[] = {"./faultline", "check"};
  CHECK(parse(criu)->as_criu);
  CHECK_FALSE(parse(own)->as_criu);
}

TEST_CASE("the table is sound") {
  std::set<std::string> names;
  std::set<char> letters;
  for (const Spec& spec : option_table()) {
    INFO(spec.name);
    CHECK(names.insert(spec.name).second);
    if (spec.short_name) CHECK(letters.insert(spec.short_name).second);
    CHECK((spec.form == Form::kRequired || spec.form == Form::kOptional) == (spec.argument != nullptr));
    CHECK(is_default(spec, Options()));
  }
}

// The options of CRIU 4.2 that clients give: each must be known, in the form they give it.
TEST_CASE("every option of CRIU is parsed") {
  Sandbox sandbox;
  for (const char* flag :
       {"log-pid", "no-log-pid", "display-stats", "leave-stopped", "leave-running", "unprivileged", "deprecated", "stream", "no-default-config",
        "restore-detached", "restore-sibling", "exec-cmd", "mntns-compat-mode", "skip-file-rwx-check", "weak-sysctls", "shell-job", "file-locks",
        "ext-unix-sk", "tcp-established", "skip-in-flight", "tcp-close", "evasive-devices", "link-remap", "ghost-fiemap", "no-ghost-fiemap",
        "force-irmap", "enable-external-sharing", "enable-external-masters", "allow-uprobes", "manage-cgroups", "track-mem", "auto-dedup",
        "page-server", "lazy-pages", "daemon", "tls", "tls-no-cn-verify", "cpu-cap", "extra", "experimental", "all", "version", "help", "verbosity"})
    CHECK(parsed({"dump", (std::string("--") + flag).c_str()}));
  for (const char* option :
       {"tree=1", "images-dir=x", "work-dir=x", "prev-images-dir=x", "log-file=x", "pidfile=x", "close=9", "libdir=x", "action-script=x", "root=x",
        "inherit-fd=fd[3]:x", "join-ns=net:1", "lsm-profile=none", "lsm-mount-context=x", "file-validation=buildid", "network-lock=nftables",
        "ghost-limit=1M", "irmap-scan-path=x", "external=mnt[]", "ext-mount-map=auto", "veth-pair=a=b", "skip-mnt=x", "enable-fs=all",
        "empty-ns=net", "timeout=3", "freeze-cgroup=x", "cgroup-root=/x", "cgroup-props=x", "cgroup-props-file=x", "cgroup-dump-controller=x",
        "cgroup-yard=x", "pre-dump-mode=read", "address=x", "port=1", "ps-socket=3", "status-fd=3", "tls-cacert=x", "tls-cacrl=x", "tls-cert=x",
        "tls-key=x", "feature=uffd"})
    CHECK(parsed({"dump", (std::string("--") + option).c_str()}));
  for (const char* letter : {"-s", "-R", "-d", "-S", "-j", "-l", "-x", "-V", "-h"}) CHECK(parsed({"dump", letter}));
  for (const char* letter : {"-t1", "-Dx", "-Wx", "-ox", "-Lx", "-rx", "-Jnet:1", "-Mauto"}) CHECK(parsed({"dump", letter}));
  CHECK(contains(bad({"dump", "--ms"}), "no longer exists"));
}

TEST_CASE("help has the options of its command only") {
  const std::string text = verb_help(kCheck);
  CHECK(contains(text, "--feature NAME"));
  CHECK(contains(text, "Examples:"));
  CHECK_FALSE(contains(text, "--leave-running"));
  CHECK(wrapped("one two three", 2, 9) == "one two\n  three");
}
