// The texts of a checkpoint by CRIU 4.2, and of images that it did not write.
#include "browse/text/text.h"

#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "browse/test_golden.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

// What the program printed about itself (zoo.facts).
constexpr uint32_t kPid = 1736, kThread = 1738, kZombie = 1741, kChild = 1742;

template <typename File>
const File& named(std::span<const File> files, std::string_view name) {
  const auto at = std::ranges::find(files, name, &File::name);
  REQUIRE(at != files.end());
  return *at;
}

std::string task_text(Snapshot& snapshot, uint32_t pid, std::string_view name) {
  auto text = named(task_files(), name).make(snapshot, *snapshot.process(pid));
  REQUIRE(text);
  return *text;
}

std::string thread_text(Snapshot& snapshot, uint32_t tid, std::string_view name) {
  auto text = named(thread_files(), name).make(snapshot, *snapshot.process(kPid), tid);
  REQUIRE(text);
  return *text;
}

Result<std::string> object(Snapshot& snapshot, std::string_view folder, const std::string& name) {
  const auto content = TRY(named(object_folders(), folder).open(snapshot, name));
  std::string bytes(content->size() + 10, '\0');
  bytes.resize(TRY(content->read(0, std::as_writable_bytes(std::span(bytes)))));
  return bytes;
}

std::vector<std::string> names(Snapshot& snapshot, std::string_view folder) {
  auto names = named(object_folders(), folder).list(snapshot);
  REQUIRE(names);
  CHECK(std::ranges::is_sorted(*names));
  return *names;
}

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("texts of a process") {
  auto snapshot = open_for_test(kGoldenImages);
  using namespace std::string_literals;
  CHECK(task_text(*snapshot, kPid, "cmdline") == "./zoo\0"s);
  CHECK(task_text(*snapshot, kPid, "comm") == "zoo\n");
  CHECK(task_text(*snapshot, kPid, "environ").ends_with('\0'));
  CHECK(task_text(*snapshot, kPid, "auxv").size() % 16 == 0);
  const std::string status = task_text(*snapshot, kPid, "status");
  for (const char* line : {"Name:\tzoo\n", "Pid:\t1736\n", "Threads:\t4\n", "VmSize:\t   27388 kB\n", "SigBlk:\t0000001000000800\n", "ShdPnd:\t0000001000000000\n", "SigIgn:\t0000000000000006\n"})
    CHECK(holds(status, line));
  const std::string stat = task_text(*snapshot, kPid, "stat");
  CHECK(stat.starts_with("1736 (zoo) R 0 1736 1736 0 -1 "));
  CHECK(std::ranges::count(stat, ' ') == 51);
  CHECK(task_text(*snapshot, kPid, "limits").starts_with("Limit                     Soft Limit           Hard Limit           Units     \n"));
  CHECK(holds(task_text(*snapshot, kPid, "signals"), "SIGRTMIN+3   SI_QUEUE from pid 1736"));
  CHECK(holds(task_text(*snapshot, kPid, "timers"), "timer 0: CLOCK_MONOTONIC, expires in 3599.423356720 s, interval 5.000000000 s, sends SIGUSR1"));
}

TEST_CASE("areas") {
  auto snapshot = open_for_test(kGoldenImages);
  const std::string maps = task_text(*snapshot, kPid, "maps");
  CHECK(holds(maps, "7f04bc4f3000-7f04bc4fb000 rw-s 00000000 00:01 18834 "));
  CHECK(holds(maps, " /dev/zero (deleted)\n"));
  CHECK(holds(maps, " /memfd:zoo-memfd (deleted)\n"));
  CHECK(holds(maps, " [stack]\n"));
  const std::string smaps = task_text(*snapshot, kPid, "smaps");
  CHECK(std::ranges::count(smaps, '\n') == 25 * std::ranges::count(maps, '\n'));
  CHECK(holds(smaps, "Size:                 32 kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\nRss:                   4 kB\n"));  // one page of the shared memory is written
  // Of the private area every second page is written.
  const std::string pagemap = task_text(*snapshot, kPid, "pagemap.json");
  CHECK(holds(pagemap, "{\"start\": \"0x7f04bc2c8000\", \"end\": \"0x7f04bc2c9000\", \"pages\": 1, \"kind\": \"stored\"}"));
  CHECK_FALSE(holds(pagemap, "\"0x7f04bc2c9000\", \"end\""));
}

TEST_CASE("a zombie has what its parent would see, and no memory") {
  auto snapshot = open_for_test(kGoldenImages);
  for (const char* name : {"cmdline", "environ", "maps", "smaps", "auxv"}) CHECK(task_text(*snapshot, kZombie, name).empty());
  CHECK(holds(task_text(*snapshot, kZombie, "status"), "State:\tZ (zombie)\n"));
  CHECK_FALSE(holds(task_text(*snapshot, kZombie, "status"), "VmSize"));
  CHECK(task_text(*snapshot, kZombie, "statm") == "0 0 0 0 0 0 0\n");
  CHECK(task_text(*snapshot, kZombie, "pagemap.json") == "[\n]\n");
  CHECK(named(task_links(), "exe").make(*snapshot, *snapshot->process(kZombie)).error().code == ENOENT);
  CHECK(*named(task_links(), "cwd").make(*snapshot, *snapshot->process(kChild)) == "/tmp/zoo");
}

TEST_CASE("texts of threads") {
  auto snapshot = open_for_test(kGoldenImages);
  CHECK(holds(thread_text(*snapshot, kPid, "regs.json"), "\"rip\": \"0x7f04bc3dedf0"));
  CHECK(holds(thread_text(*snapshot, kThread, "regs.txt"), "rsp            0x7f04"));
  CHECK(holds(thread_text(*snapshot, kThread, "status"), "Pid:\t1738\n"));
  CHECK(thread_text(*snapshot, kThread, "sigmask") == "0000001000000800 SIGUSR2 SIGRTMIN+3\n");
  for (const ThreadFile& file : thread_files()) CHECK(file.make(*snapshot, *snapshot->process(kPid), kThread));
}

TEST_CASE("descriptors") {
  auto snapshot = open_for_test(kGoldenImages);
  std::map<std::string, std::string> told;  // by the path
  for (const image::FdinfoEntry& fd : **snapshot->fds(kPid)) {
    auto text = fdinfo_text(*snapshot, fd);
    REQUIRE(text);
    told[snapshot->path_of(fd.id)] += *text;
  }
  CHECK(holds(told["anon_inode:[eventfd]"], "eventfd-count:"));
  CHECK(holds(told["anon_inode:[eventpoll]"], "tfd:        "));
  CHECK(holds(told["anon_inode:[timerfd]"], "clockid: 1\n"));
  CHECK(holds(told["anon_inode:[signalfd]"], "sigmask:\t0000001000000800\n"));
  CHECK(holds(told["anon_inode:inotify"], "inotify wd:1 ino:"));
  CHECK(holds(told["/memfd:zoo-memfd (deleted)"], "ino:\t18834\n") != holds(told["/memfd:zoo-memfd (deleted)"], "ino:\t18835\n"));
  CHECK(holds(told["/tmp/zoo/zoo.txt"], "pos:\t"));
  CHECK(holds(told["socket:[1053333]"], "scm_fds: 0\n"));
  CHECK(told.contains("/tmp/zoo/zoo.deleted (deleted)"));
}

TEST_CASE("objects that tasks share") {
  auto snapshot = open_for_test(kGoldenImages);
  CHECK(*object(*snapshot, "pipes", "1053331") == "bytes in a pipe");
  CHECK(*object(*snapshot, "pipes", "1052591") == "");
  CHECK(*object(*snapshot, "sockets", "1053333.queue") == "bytes in a socket");
  CHECK(*object(*snapshot, "files", "ghost-1") == "an unlinked file");
  CHECK(holds(*object(*snapshot, "sockets", "1053333"), "peer: 1053332\n"));
  CHECK(names(*snapshot, "shm") == std::vector<std::string>{"18834.txt", "18835.txt"});
  CHECK(names(*snapshot, "ns") == std::vector<std::string>{"time-0"});
  for (const ObjectFolder& folder : object_folders()) {
    for (const std::string& name : names(*snapshot, folder.name)) CHECK(folder.open(*snapshot, name));
    for (const char* name : {"", "x", "4294967296", "01", "-1"}) CHECK(folder.open(*snapshot, name).error().code == ENOENT);
  }
  const std::string json = *object(*snapshot, "files", "1.json");
  CHECK(holds(json, "\"path\": "));
  CHECK(holds(json, "\"entry\": {"));
}

TEST_CASE("contents of deleted files that are given in pieces") {
  const image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  const auto ghost = [&](std::vector<std::pair<uint64_t, std::string>> chunks) {
    const auto dir = scratch.dir();
    auto writer = image::Writer::create(dir, "ghost-file-1.img", image::kGhostFile);
    REQUIRE(writer);
    REQUIRE(writer->put(image::GhostFileEntry{.uid = 0, .gid = 0, .mode = S_IFREG | 0600, .chunks = true, .size = 20000}));
    for (const auto& [offset, bytes] : chunks) {
      REQUIRE(writer->put(image::GhostChunkEntry{.len = bytes.size(), .off = offset}));
      REQUIRE(writer->payload(std::as_bytes(std::span(bytes))));
    }
    REQUIRE(writer->close());
    return object(*open_for_test(scratch.path()), "files", "ghost-1");
  };
  std::string wanted(20000, '\0');
  wanted.replace(4096, 5, "piece").replace(19995, 5, "end..");
  CHECK(*ghost({{4096, "piece"}, {19995, "end.."}}) == wanted);
  CHECK(*ghost({{19995, "end.."}, {4096, "piece"}}) == wanted);
  CHECK(ghost({{4096, "piece"}, {4100, "x"}}).error().code == EBADMSG);
  CHECK(ghost({{19999, "xx"}}).error().code == EBADMSG);
}

TEST_CASE("namespaces, cgroups, terminals") {
  const image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  const auto dir = scratch.dir();
  REQUIRE(image::write_one(dir, "utsns-11.img", image::kUtsns, image::UtsnsEntry{.nodename = "host", .domainname = "(none)"}));
  image::MntEntry mount{.fstype = 5, .mnt_id = 29, .root_dev = (253 << 20) | 3, .parent_mnt_id = 1, .flags = 1 << 1, .root = "/", .mountpoint = "/a b", .source = "tmpfs", .options = "size=4k"};
  mount.shared_id = 7;
  REQUIRE(image::write_one(dir, "mountpoints-12.img", image::kMountpoints, mount));
  REQUIRE(image::write_one(dir, "netns-13.img", image::kNetns, image::NetnsEntry{}));
  REQUIRE(image::write_one(dir, "netdev-13.img", image::kNetdev, image::NetDeviceEntry{.type = image::NdType::LOOPBACK, .ifindex = 1, .mtu = 65536, .flags = 0x9, .name = "lo"}));
  scratch.write("nftables-13.img", "table inet t {}\n");
  image::CgroupEntry groups;
  const auto set = (*open_for_test(kGoldenImages)->core(kPid))->thread_core->cg_set;
  groups.sets.push_back({.id = set.value_or(0), .ctls = {{.name = "", .path = "/two"}, {.name = "cpu,cpuacct", .path = "/one"}, {.name = "name=systemd", .path = "/s"}}});
  REQUIRE(image::write_one(dir, "cgroup.img", image::kCgroup, groups));
  image::TtyInfoEntry tty{.id = 6, .type = image::TtyType::PTY, .sid = kPid, .pgrp = kChild, .rdev = 0x8803};
  tty.pty = image::TtyPtyEntry{.index = 3};
  REQUIRE(image::write_one(dir, "tty-info.img", image::kTtyInfo, tty));
  auto snapshot = open_for_test(scratch.path());
  CHECK(names(*snapshot, "ns") == std::vector<std::string>{"mnt-12", "net-13", "net-13.nftables", "time-0", "uts-11"});
  CHECK(*object(*snapshot, "ns", "uts-11") == "nodename: host\ndomainname: (none)\n");
  CHECK(*object(*snapshot, "ns", "mnt-12") == "29 1 253:3 / /a\\040b rw,nosuid shared:7 - tmpfs tmpfs rw,size=4k\n");
  CHECK(*object(*snapshot, "ns", "net-13") == "1: lo: <UP,LOOPBACK> mtu 65536 kind loopback\n");
  CHECK(*object(*snapshot, "ns", "net-13.nftables") == "table inet t {}\n");
  CHECK(task_text(*snapshot, kPid, "cgroup") == "2:cpu,cpuacct:/one\n1:name=systemd:/s\n0::/two\n");
  CHECK(names(*snapshot, "ttys") == std::vector<std::string>{"pts3"});
  CHECK(task_text(*snapshot, kPid, "stat").starts_with("1736 (zoo) R 0 1736 1736 34819 1742 "));
}

TEST_CASE("what is missing is an error for its own texts only") {
  const image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  fs::remove(scratch.path() / "mm-1736.img");
  auto snapshot = open_for_test(scratch.path());
  CHECK(named(task_files(), "maps").make(*snapshot, *snapshot->process(kPid)).error().code == ENOENT);
  CHECK(holds(task_text(*snapshot, kPid, "status"), "Name:\tzoo\n"));
  CHECK(task_text(*snapshot, kPid, "comm") == "zoo\n");
  fs::remove(scratch.path() / "files.img");
  snapshot = open_for_test(scratch.path());
  CHECK(task_text(*snapshot, kPid, "comm") == "zoo\n");
  CHECK(*object(*snapshot, "pipes", "1053331") == "bytes in a pipe");
}
