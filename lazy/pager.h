#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/image/image_dir.h"
#include "lazy/fault_loop.h"
#include "lazy/pages_file.h"
#include "lazy/space_table.h"

// The pager: fills the memory of restored processes, at once or when they touch it. See lazy/README.md.
//
//   Pager pager;
//   uint32_t task = TRY(pager.add_task_memory(dir, 1));                     // before the first add()
//   TRY(pager.add({.pid = 1, .image_pid = 1, .uffd = ..., .areas = {{start, length, task, start}}}));
//   TRY(pager.install(1, stack_page));                                      // what must be there before the first instruction
//   pid_t guard = TRY(pager.detach({...}));                                 // from here on faults are served
namespace faultline::lazy {

// A restored process. Its lazy areas are registered with `uffd` (mode missing, uffd::kLazyFeatures, O_NONBLOCK) and not running yet.
struct AddressSpace {
  pid_t pid;  // as seen by the caller
  pid_t image_pid;  // as in the images, which names the recording
  UniqueFd uffd;
  std::vector<Area> areas;
};

struct DetachOptions {
  Prefetch prefetch = Prefetch::kSequential;
  // Where working sets are read (kRecorded) and written; -1: neither. Stays the caller's.
  int working_set_dir = -1;
  bool record = false;
  Watch watch;
  // Should a live source take its processes back: all that were restored, also those without late memory, and as HeldTree has it.
  std::vector<pid_t> processes;
  bool contained = false;
  std::optional<pid_t> reaper;
  int let_go = -1;  // as GuardOptions has it; stays the caller's
  std::vector<int> keep_fds;  // of the log, for example. All other descriptors are closed; 0, 1 and 2 become /dev/null if not kept
};

// Not safe from several threads.
class Pager {
 public:
  Pager();
  ~Pager();
  Pager(Pager&&) noexcept;
  Pager& operator=(Pager&&) noexcept;

  // Reads the pagemap of a task's private memory, or of a shared object, in `dir` with its parents, opens their pages files, and gives the
  // number of the index. The addresses of shared objects are offsets. Call before the first add().
  // Errors: ENOENT, EBADMSG for malformed images, ENOTSUP for pages that are not stored where there is no page server.
  Result<uint32_t> add_task_memory(const image::ImageDir& dir, uint32_t image_pid);
  Result<uint32_t> add_shared_memory(const image::ImageDir& dir, uint32_t shmid);
  // The same from other sources: a pages file gives its number, which the extents of an index name.
  Result<uint32_t> add_file(UniqueFd fd, std::string name);
  // `object`: its name at a page server, if it has remote pages.
  uint32_t add_index(PageIndex index, bool shared, pageserver::ObjectId object = 0);

  // Where pages are that are not in the images. Before the first index is added; `remote` must outlive this object and every pager.
  void set_remote(RemoteOptions& remote);

  // Errors: EINVAL for areas that overlap or name no index; ESRCH if there is no such process; ENOMEM.
  Result<void> add(AddressSpace space);

  // Puts the page in now, zeros if nothing was stored, waiting for the disk or the page server if need be. Nothing happens if it is in place
  // or not in a lazy area.
  Result<void> install(pid_t pid, Vaddr page);
  // The same for many; of a page server all are asked for at once.
  Result<void> install(std::span<const std::pair<pid_t, Vaddr>> pages);
  // For about the time `limit`, puts in the first pages of the recording of each process, for which `working-set-<pid>.flws` exists in `dir_fd`.
  // Gives the number of pages. A recording that cannot be used is a warning.
  Result<uint64_t> fill_recorded(int dir_fd, std::chrono::microseconds limit);
  // Puts everything in, with several threads, and closes the descriptors. The processes must not be running.
  // `progress` is told the pages done and in all, from the calling thread.
  using Progress = std::function<void(uint64_t done, uint64_t all)>;
  Result<void> fill_everything(const Progress& progress);

  // Starts the guard, which starts the pager, and waits until faults are served. From then on this object has no descriptors left.
  // The calling process must have no other threads. The caller reaps the guard, or leaves that to init.
  // Gives the guard's pid. It ends with 0 when everything is in place or all processes are gone.
  Result<pid_t> detach(const DetachOptions& options);

  // For the lazy-pages daemon: what detach() is made of.
  const Memory& memory() const;
  Result<SpaceTable*> table();

 private:
  struct State;
  Result<void> install_remote(std::span<const std::pair<pid_t, Vaddr>> pages);
  Result<uint32_t> load_index(const image::ImageDir& dir, const std::string& file, pageserver::ObjectId object);
  Result<void> fill_remote(const Progress& progress, std::atomic<uint64_t>& done, uint64_t& all);
  std::unique_ptr<State> state_;
};

}  // namespace faultline::lazy
