#include "core/dump/dump.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "core/dump/memory.h"
#include "core/dump/task.h"

namespace faultline::dump {

namespace {

constexpr char kInventoryDraft[] = "inventory.img.draft";

using Clock = std::chrono::steady_clock;

uint32_t microseconds_since(Clock::time_point since) {
  return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - since).count());
}

class Dump {
 public:
  Dump(const image::ImageDir& dir, const Settings& settings, const Hooks& hooks)
      : dir_(dir), settings_(settings), hooks_(hooks), files_(settings.files) {}

  // What follows happens while the tree stands still.
  Result<void> frozen(FrozenTree& tree) {
    TRY(check_tasks(tree.tasks(), settings_.files.shell_job));
    std::vector<pid_t> pids;
    for (const FrozenTask& task : tree.tasks())
      if (!task.zombie()) pids.push_back(task.pid);
    TRY(files_.tasks(pids));
    for (FrozenTask& task : tree.tasks()) {
      TRY(go_on());
      auto collected = collect_task(task, tasks_.empty(), static_cast<uint32_t>(tasks_.size()), areas_, files_);
      if (!collected) return Failure(collected.error());
      tasks_.push_back(std::move(*collected));
    }
    TRY(files_.complete());
    // So far everything was only looked at. From here on the processes are entered.
    for (DumpedTask& task : tasks_) {
      TRY(go_on());
      if (!task.frozen->zombie()) TRY(ask_task(task));
    }
    TRY(memory());
    TRY(images());
    return {};
  }

  // The last step: only now is there a checkpoint.
  Result<void> complete() {
    TRY(store_->finish());
    image::InventoryEntry inventory;
    inventory.img_version = 2;
    inventory.fdinfo_per_id = true;
    inventory.root_ids = own_ids();
    inventory.ns_per_id = true;
    inventory.lsmtype = image::Lsmtype::NO_LSM;
    TRY(go_on());
    TRY(image::write_one(dir_, kInventoryDraft, image::kInventory, inventory));
    if (settings_.sync) TRY(dir_.sync());
    TRY(go_on());
    if (::renameat(dir_.fd(), kInventoryDraft, dir_.fd(), image::kInventoryFile) < 0) return sys_error("{}/{}", dir_.name(), image::kInventoryFile);
    if (settings_.sync && ::fsync(dir_.fd()) < 0) return sys_error("{}: the directory cannot be brought to stable storage", dir_.name());
    return {};
  }

  Result<void> go_on() const { return hooks_.go_on ? hooks_.go_on() : Result<void>(); }

  image::DumpStatsEntry stats{};

 private:
  Result<void> written(uint64_t bytes) const {
    if (hooks_.written) hooks_.written(bytes);
    return go_on();
  }

  Result<void> memory() {
    const auto begin = Clock::now();
    std::vector<objects::SharedObject> shared = files_.take_shared_objects();
    if (hooks_.total) {
      uint64_t total = 0;
      for (const DumpedTask& task : tasks_)
        for (const PrivateRange& range : task.space.ranges) total += range.end - range.start;
      for (const objects::SharedObject& object : shared) total += object.size;
      hooks_.total(total);
    }
    store_ = make_store();
    for (const DumpedTask& task : tasks_) {
      if (task.frozen->zombie()) continue;
      std::vector<Vaddr> stacks;
      for (const agent::StoppedThread& thread : task.frozen->threads) stacks.push_back(page_down(thread.registers.stack()));
      std::sort(stacks.begin(), stacks.end());
      const MemoryCounts counts = TRY(write_memory(task.frozen->pid, task.space, stacks, hooks_.serve ? LatePages::kLeft : LatePages::kStored, *store_));
      stats.pages_scanned += counts.pages_scanned;
      stats.pages_written += counts.pages_written;
      stats.pages_lazy += counts.pages_left;
    }
    uint64_t scanned = 0, written = 0;
    for (const objects::SharedObject& object : shared) {
      const MemoryCounts counts = TRY(write_shared(object, *store_));
      scanned += counts.pages_scanned;
      written += counts.pages_written;
    }
    stats.shpages_scanned = scanned;
    stats.shpages_written = written;
    stats.memdump_time = microseconds_since(begin);
    return {};
  }

  std::unique_ptr<PageStore> make_store() {
    Written written_so_far = [this](uint64_t bytes) { return written(bytes); };
    if (settings_.page_server.stream) return server_store(settings_.page_server, dir_, std::move(written_so_far));
    return file_store(dir_, settings_.sync, std::move(written_so_far));
  }

  Result<void> images() {
    TRY(files_.write(dir_));
    image::Writer tree = TRY(image::Writer::create(dir_, "pstree.img", image::kPstree));
    image::Writer calls = TRY(image::Writer::create(dir_, image::kInterruptedCallsFile, image::kInterruptedCalls));
    for (const DumpedTask& task : tasks_) {
      TRY(tree.put(task.image.tree));
      TRY(task_images(task.image));
      for (size_t i = 0; i < task.frozen->threads.size(); ++i)
        if (task.frozen->remaining_ns[i] >= 0 && task.frozen->threads[i].call.nr >= 0)
          TRY(calls.put(image::InterruptedCallEntry{.tid = task.image.tree.threads[i], .nr = task.frozen->threads[i].call.nr,
                                                    .remaining_ns = static_cast<uint64_t>(task.frozen->remaining_ns[i])}));
    }
    TRY(tree.close());
    TRY(calls.close());
    TRY(image::write_one(dir_, "seccomp.img", image::kSeccomp, image::SeccompEntry{}));
    TRY(write_origin());
    return write_clocks();
  }

  Result<void> write_origin() {
    utsname machine;
    if (::uname(&machine) < 0) return sys_error("cannot find out the name of this machine");
    timespec now;
    ::clock_gettime(CLOCK_REALTIME, &now);
    image::OriginEntry origin = settings_.origin;
    origin.host = machine.nodename;
    origin.kernel = machine.release;
    origin.machine = machine.machine;
    origin.time_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    return image::write_one(dir_, image::kOriginFile, image::kOrigin, origin);
  }

  Result<void> task_images(const image::Task& task) {
    const uint32_t pid = task.tree.pid;
    TRY(image::write_one(dir_, fmt::format("core-{}.img", pid), image::kCore, task.core));
    for (size_t i = 0; i < task.threads.size(); ++i)
      TRY(image::write_one(dir_, fmt::format("core-{}.img", task.tree.threads[i + 1]), image::kCore, task.threads[i]));
    if (!task.mm) return {};
    TRY(image::write_one(dir_, fmt::format("ids-{}.img", pid), image::kIds, *task.ids));
    TRY(image::write_one(dir_, fmt::format("mm-{}.img", pid), image::kMm, *task.mm));
    TRY(image::write_one(dir_, fmt::format("fs-{}.img", pid), image::kFs, *task.fs));
    image::Writer fds = TRY(image::Writer::create(dir_, fmt::format("fdinfo-{}.img", task.ids->files_id), image::kFdinfo));
    for (const image::FdinfoEntry& fd : task.fds) TRY(fds.put(fd));
    return fds.close();
  }

  // The clocks of this machine, by which a restore elsewhere may correct timers.
  Result<void> write_clocks() {
    timespec monotonic, boottime;
    ::clock_gettime(CLOCK_MONOTONIC, &monotonic);
    ::clock_gettime(CLOCK_BOOTTIME, &boottime);
    image::TimensEntry entry;
    entry.monotonic = {.tv_sec = static_cast<uint64_t>(monotonic.tv_sec), .tv_nsec = static_cast<uint64_t>(monotonic.tv_nsec)};
    entry.boottime = {.tv_sec = static_cast<uint64_t>(boottime.tv_sec), .tv_nsec = static_cast<uint64_t>(boottime.tv_nsec)};
    return image::write_one(dir_, "timens-0.img", image::kTimens, entry);
  }

  const image::ImageDir& dir_;
  const Settings& settings_;
  const Hooks& hooks_;
  sys::AreaReader areas_;
  objects::FileCollector files_;
  std::vector<DumpedTask> tasks_;
  std::unique_ptr<PageStore> store_;
};

}  // namespace

Result<image::DumpStatsEntry> run(const image::ImageDir& dir, const Settings& settings, const Hooks& hooks) {
  // Whatever was here is no checkpoint any more.
  for (const char* name : {image::kInventoryFile, image::kMemoryReceivedFile}) TRY(dir.remove(name));
  Dump dump(dir, settings, hooks);
  const auto begin = Clock::now();
  FrozenTree tree = TRY(FrozenTree::freeze(settings.pid, settings.timeout, [&] { return dump.go_on(); }));
  dump.stats.freezing_time = microseconds_since(begin);
  const auto frozen = Clock::now();
  auto done = dump.frozen(tree);
  if (done) done = dump.complete();
  if (done && hooks.post_dump) done = hooks.post_dump();
  if (done) done = dump.go_on();
  dump.stats.frozen_time = microseconds_since(frozen);
  if (!done) {
    for (const char* name : {image::kInventoryFile, kInventoryDraft}) static_cast<void>(dir.remove(name));
    static_cast<void>(tree.release(Afterwards::kRun));
    return Failure(done.error());
  }
  if (!hooks.serve) {
    TRY(tree.release(settings.afterwards));
    return dump.stats;
  }
  // Whose program it is from now on, and what becomes of it here, is between `serve` and its client.
  auto served = hooks.serve(tree);
  dump.stats.frozen_time = microseconds_since(frozen);
  // Without the processes that have the memory, the images are no checkpoint.
  if (served.afterwards == Afterwards::kRun) static_cast<void>(dir.remove(image::kInventoryFile));
  auto released = tree.release(served.afterwards);
  TRY(std::move(served.outcome));
  TRY(std::move(released));
  return dump.stats;
}

}  // namespace faultline::dump
