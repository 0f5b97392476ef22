#include "core/dump/task.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/objects/task_state.h"

namespace faultline::dump {

namespace {

constexpr const char* kNamespaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};

Result<void> check_namespaces(pid_t pid) {
  for (const char* name : kNamespaces) {
    auto theirs = sys::read_link(fmt::format("/proc/{}/ns/{}", pid, name));
    const auto ours = sys::read_link(fmt::format("/proc/self/ns/{}", name));
    if (!theirs && theirs.error().code == ENOENT) continue;  // this kernel has no such namespaces
    if (!theirs) return Failure(theirs.error());
    if (!ours || *theirs != *ours)
      return error(ENOTSUP, "pid {} is in another {} namespace ({}); namespaces cannot be checkpointed yet. Run the dump inside the namespace", pid, name, *theirs);
  }
  return {};
}

Result<void> check_status(pid_t pid, pid_t tid) {
  const std::string status = TRY(sys::read_proc(fmt::format("/proc/{}/task/{}/status", pid, tid)));
  const std::string seccomp = sys::status_field(status, "Seccomp");
  if (!seccomp.empty() && seccomp != "0") return error(ENOTSUP, "pid {}: thread {} runs under seccomp (mode {}), which cannot be checkpointed yet", pid, tid, seccomp);
  return {};
}

struct Sharing { int kind; const char* what; };
constexpr Sharing kSharing[] = {{KCMP_VM, "address space"}, {KCMP_FILES, "descriptor table"}, {KCMP_FS, "working directory (CLONE_FS)"},
                                {KCMP_SIGHAND, "signal handlers"}, {KCMP_SYSVSEM, "semaphore undo list"}};

// <0, 0, >0 in an order that the kernel keeps.
int compare(pid_t a, pid_t b, int kind) {
  const long order = ::syscall(SYS_kcmp, a, b, kind, 0, 0);
  return order == 1 ? -1 : order == 2 ? 1 : static_cast<int>(order);
}

Result<void> check_sharing(const std::vector<FrozenTask>& tasks) {
  std::vector<pid_t> living;
  for (const FrozenTask& task : tasks)
    if (!task.zombie()) living.push_back(task.pid);
  for (const Sharing& s : kSharing) {
    std::vector<pid_t> sorted = living;
    std::sort(sorted.begin(), sorted.end(), [&](pid_t a, pid_t b) { return compare(a, b, s.kind) < 0; });
    for (size_t i = 1; i < sorted.size(); ++i)
      // Processes without an undo list compare as equal.
      if (s.kind != KCMP_SYSVSEM && compare(sorted[i - 1], sorted[i], s.kind) == 0)
        return error(ENOTSUP, "pids {} and {} share their {} without being threads of one process; this cannot be checkpointed yet", sorted[i - 1], sorted[i], s.what);
  }
  for (const FrozenTask& task : tasks)
    for (size_t i = 1; i < task.threads.size(); ++i)
      for (int kind : {KCMP_FILES, KCMP_FS})
        if (compare(task.pid, task.threads[i].tracee.tid(), kind) != 0)
          return error(ENOTSUP, "pid {}: thread {} has descriptors or a working directory of its own; this cannot be checkpointed yet", task.pid, task.threads[i].tracee.tid());
  return {};
}

bool exists(pid_t pid) { return ::access(fmt::format("/proc/{}", pid).c_str(), F_OK) == 0; }

// Leaders that have ended are no obstacle; those that live outside the tree are.
Result<void> check_session(const std::vector<FrozenTask>& tasks) {
  std::set<pid_t> inside;
  for (const FrozenTask& task : tasks) inside.insert(task.pid);
  for (const FrozenTask& task : tasks) {
    const bool session = !inside.contains(task.stat.session) && (exists(task.stat.session) || &task == &tasks.front());
    const bool group = !inside.contains(task.stat.pgrp) && exists(task.stat.pgrp);
    if (session || group)
      return error(ENOTSUP, "pid {} is in the {} {} whose leader is not part of the tree. Dump from its leader, start the program with setsid, or use --shell-job",
                   task.pid, session ? "session" : "process group", session ? task.stat.session : task.stat.pgrp);
  }
  return {};
}

image::TaskCoreEntry task_part(const FrozenTask& frozen) {
  image::TaskCoreEntry tc;
  tc.task_state = frozen.zombie() ? image::kTaskDead : frozen.job_stop() ? image::kTaskStopped : image::kTaskAlive;
  tc.exit_code = frozen.zombie() ? frozen.stat.exit_code : 0;
  tc.flags = frozen.stat.flags;
  if (frozen.job_stop()) tc.stop_signo = static_cast<uint32_t>(frozen.job_stop());
  if (auto comm = sys::read_proc(fmt::format("/proc/{}/comm", frozen.pid))) tc.comm = comm->substr(0, comm->find('\n'));
  return tc;
}

Result<image::MmEntry> layout(const FrozenTask& frozen, objects::FileCollector& files) {
  image::MmEntry mm;
  const sys::Stat& s = frozen.stat;
  mm.mm_start_code = s.start_code, mm.mm_end_code = s.end_code;
  mm.mm_start_data = s.start_data, mm.mm_end_data = s.end_data;
  mm.mm_start_stack = s.start_stack, mm.mm_start_brk = s.start_brk;
  mm.mm_arg_start = s.arg_start, mm.mm_arg_end = s.arg_end;
  mm.mm_env_start = s.env_start, mm.mm_env_end = s.env_end;
  mm.exe_file_id = TRY(files.path_file(fmt::format("/proc/{}/exe", frozen.pid), O_RDONLY));
  const std::string auxv = TRY(sys::read_proc(fmt::format("/proc/{}/auxv", frozen.pid)));
  mm.mm_saved_auxv.resize(auxv.size() / sizeof(uint64_t));
  std::memcpy(mm.mm_saved_auxv.data(), auxv.data(), mm.mm_saved_auxv.size() * sizeof(uint64_t));
  return mm;
}

Result<image::FsEntry> filesystem(pid_t pid, objects::FileCollector& files) {
  image::FsEntry fs;
  fs.cwd_id = TRY(files.path_file(fmt::format("/proc/{}/cwd", pid), O_RDONLY));
  fs.root_id = TRY(files.path_file(fmt::format("/proc/{}/root", pid), O_RDONLY));
  const std::string status = TRY(sys::read_proc(fmt::format("/proc/{}/status", pid)));
  fs.umask = static_cast<uint32_t>(std::strtoul(sys::status_field(status, "Umask").c_str(), nullptr, 8));
  return fs;
}

// Programs of all threads with the questions of all kinds of state, kept until the answers are there.
struct Questions {
  std::vector<std::unique_ptr<objects::TaskState>> task;
  std::vector<std::vector<std::unique_ptr<objects::ThreadState>>> threads;
  std::vector<agent::Program> programs;
  agent::Program::Step brk{};
};

Questions questions(pid_t pid, size_t threads) {
  Questions q;
  q.programs.resize(threads);
  q.task = objects::task_states();
  for (const auto& state : q.task) state->ask({pid, pid}, q.programs[0]);
  q.brk = q.programs[0].syscall("brk", SYS_brk, {0});
  for (size_t i = 0; i < threads; ++i) {
    q.threads.push_back(objects::thread_states());
    for (const auto& state : q.threads[i]) state->ask(q.programs[i]);
  }
  return q;
}

}  // namespace

Result<void> check_tasks(const std::vector<FrozenTask>& tasks, bool shell_job) {
  for (const FrozenTask& task : tasks) {
    if (task.zombie()) continue;
    TRY(check_namespaces(task.pid));
    for (const agent::StoppedThread& thread : task.threads) TRY(check_status(task.pid, thread.tracee.tid()));
  }
  TRY(check_sharing(tasks));
  return shell_job ? Result<void>() : check_session(tasks);
}

image::TaskKobjIdsEntry own_ids() {
  return {.vm_id = 1, .files_id = 1, .fs_id = 1, .sighand_id = 1, .pid_ns_id = 1, .net_ns_id = 2, .ipc_ns_id = 3, .uts_ns_id = 4, .mnt_ns_id = 6,
          .user_ns_id = 7, .cgroup_ns_id = 8, .time_ns_id = 5};
}

Result<DumpedTask> collect_task(FrozenTask& frozen, bool root, uint32_t index, sys::AreaReader& areas, objects::FileCollector& files) {
  DumpedTask task{&frozen, {}, {}};
  image::Task& image = task.image;
  image.tree.pid = static_cast<uint32_t>(frozen.pid);
  image.tree.ppid = root ? 0 : static_cast<uint32_t>(frozen.stat.ppid);
  image.tree.pgid = static_cast<uint32_t>(frozen.stat.pgrp);
  image.tree.sid = static_cast<uint32_t>(frozen.stat.session);
  image.core.mtype = image::March::X86_64;
  image.core.tc = task_part(frozen);
  if (frozen.zombie()) {
    image.tree.threads.push_back(image.tree.pid);
    return task;
  }
  for (const agent::StoppedThread& thread : frozen.threads) image.tree.threads.push_back(static_cast<uint32_t>(thread.tracee.tid()));
  image.ids = own_ids();
  image.ids->vm_id = image.ids->files_id = image.ids->fs_id = image.ids->sighand_id = index + 2;
  image.fds = TRY(files.descriptors(frozen.pid, frozen.pidfd.get()));
  image.mm = TRY(layout(frozen, files));
  task.space = TRY(collect_areas(frozen.pid, areas, files));
  image.mm->vmas = task.space.vmas;
  image.fs = TRY(filesystem(frozen.pid, files));
  return task;
}

Result<void> ask_task(DumpedTask& task) {
  FrozenTask& frozen = *task.frozen;
  image::Task& image = task.image;
  Questions q = questions(frozen.pid, frozen.threads.size());
  TRY(agent::run_in_threads(frozen.pid, frozen.threads, q.programs));
  image.mm->mm_brk = static_cast<uint64_t>(q.programs[0].result(q.brk));
  image.threads.resize(frozen.threads.size() - 1);
  for (size_t i = 0; i < frozen.threads.size(); ++i) {
    const agent::StoppedThread& thread = frozen.threads[i];
    image::CoreEntry& core = i == 0 ? image.core : image.threads[i - 1];
    arch::to_image(thread.registers, thread.call, core);
    core.thread_core.emplace();
    const objects::ThreadView view{frozen.pid, thread.tracee.tid()};
    for (const auto& state : q.threads[i]) TRY(state->collect(view, q.programs[i], core));
    if (i == 0) core.tc->blk_sigset = thread.blocked;
    else core.thread_core->blk_sigset = thread.blocked;
  }
  const objects::ThreadView leader{frozen.pid, frozen.pid};
  for (const auto& state : q.task) TRY(state->collect(leader, q.programs[0], image));
  return {};
}

}  // namespace faultline::dump
