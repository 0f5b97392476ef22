// Plays restore against the daemon, with a checkpoint of one process that is made up here.
#include "lazy/daemon.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>

#include "lazy/test_target.h"
#include "uffd/userfault.h"

namespace faultline::lazy {
namespace {

constexpr uint64_t kPages = 64;
constexpr pid_t kPid = 4711;

struct Directory {
  Directory(std::string p, image::ImageDir d) : path(std::move(p)), dir(std::move(d)) {}
  Directory(Directory&&) = delete;
  ~Directory() { (void)!system(("rm -rf " + path).c_str()); }
  std::string path;
  image::ImageDir dir;
};

std::unique_ptr<Directory> make_images(Vaddr address) {
  char path[] = "/tmp/faultline-daemon-test.XXXXXX";
  REQUIRE(mkdtemp(path) != nullptr);
  auto directory = std::make_unique<Directory>(path, *image::ImageDir::open(path));
  Directory& d = *directory;
  auto writer = *image::Writer::create(d.dir, fmt::format("pagemap-{}.img", kPid), image::kPagemap);
  image::PagemapHead head;
  head.pages_id = 1;
  REQUIRE(writer.put(head));
  image::PagemapEntry entry;
  entry.vaddr = address;
  entry.nr_pages = kPages;
  entry.flags = 6;
  REQUIRE(writer.put(entry));
  REQUIRE(writer.close());
  const UniqueFd pages = *d.dir.open_file("pages-1.img", O_CREAT | O_WRONLY);
  for (uint64_t p = 0; p < kPages; ++p)
    for (uint64_t w = 0; w < 512; ++w) {
      const uint64_t word = test::stored_word(p, w);
      REQUIRE(write(pages.get(), &word, sizeof word) == sizeof word);
    }
  return directory;
}

image::Checkpoint one_process(Vaddr address) {
  image::Checkpoint c;
  image::Task task;
  task.tree.pid = kPid;
  task.core.tc.emplace();
  task.core.tc->task_state = image::kTaskAlive;
  task.mm.emplace();
  image::VmaEntry vma;
  vma.start = address;
  vma.end = address + kPages * kPageSize;
  vma.flags = MAP_PRIVATE | MAP_ANONYMOUS;
  vma.status = image::kVmaRegular | image::kVmaAnonPrivate;
  task.mm->vmas.push_back(vma);
  c.tasks.push_back(task);
  return c;
}

// In a process of its own: registers memory, hands it to the daemon, and looks at it.
int restored(std::byte* memory, int work_dir, bool break_off) {
  auto fault = uffd::Userfault::create(uffd::kLazyFeatures);
  if (!fault || !fault->register_range(reinterpret_cast<Vaddr>(memory), kPages * kPageSize)) return 10;
  auto connection = DaemonConnection::open(work_dir);
  if (!connection || !*connection) return 11;
  if (!(*connection)->send_zombie(99) || !(*connection)->send(kPid, fault->get())) return 12;
  if (break_off) return 0;
  // Faults are served before the restore is finished.
  if (reinterpret_cast<volatile uint64_t*>(memory + 5 * kPageSize)[7] != test::stored_word(5, 7)) return 13;
  if (!(*connection)->finish()) return 14;
  *fault = uffd::Userfault();
  for (uint64_t p = 0; p < kPages; ++p)
    if (reinterpret_cast<volatile uint64_t*>(memory + p * kPageSize)[p] != test::stored_word(p, p)) return 15;
  return 0;
}

// Gives the daemon's outcome and the exit status of what it served.
std::pair<bool, int> serve(bool break_off) {
  const Mapping memory = *Mapping::map(kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "memory");
  const auto address = reinterpret_cast<Vaddr>(memory.data());
  const auto directory = make_images(address);
  const Directory& d = *directory;
  const UniqueFd work(open(d.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  pid_t child = -1;
  DaemonOptions options;
  options.work_dir = work.get();
  options.pager.keep_fds = {2};
  options.ready = [&]() -> Result<void> {
    child = fork();
    if (child == 0) _exit(restored(memory.data(), work.get(), break_off));
    return {};
  };
  const auto outcome = run_daemon(d.dir, one_process(address), options);
  int status = 0;
  waitpid(child, &status, 0);
  return {outcome.has_value(), status};
}

TEST_CASE("the daemon serves a restore that speaks the protocol") {
  const auto [served, status] = serve(false);
  CHECK(served);
  CHECK(status == 0);
}

TEST_CASE("a restore that breaks off ends the daemon with an error") {
  const auto [served, status] = serve(true);
  CHECK_FALSE(served);
  CHECK(status == 0);
}

TEST_CASE("without a daemon there is no connection, and no error") {
  const UniqueFd work(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (faccessat(work.get(), kDaemonSocket, F_OK, 0) == 0) return;
  const auto connection = DaemonConnection::open(work.get());
  REQUIRE(connection);
  CHECK_FALSE(connection->has_value());
}

}  // namespace
}  // namespace faultline::lazy
