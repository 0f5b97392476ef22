#include "core/restore/plan.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>

#include "arch/registers.h"
#include "core/objects/task_state.h"

namespace faultline::restore {

Result<std::unique_ptr<Plan>> Plan::make(const image::ImageDir& dir, const Settings& settings) {
  std::unique_ptr<Plan> plan(new Plan(dir));
  plan->checkpoint_ = TRY(image::Checkpoint::load(dir));
  plan->tree_ = TRY(TreePlan::make(plan->checkpoint_, settings.files.shell_job));
  for (const image::Task& task : plan->checkpoint_.tasks) {
    if (task.dead()) continue;
    const auto check = [&](const image::CoreEntry& core) -> Result<void> {
      auto fits = arch::check_image(core);
      if (!fits) return wrap(fits.error(), "pid {}", task.pid());
      return {};
    };
    TRY(check(task.core));
    for (const image::CoreEntry& core : task.threads) TRY(check(core));
  }
  plan->files_.emplace(TRY(objects::FileRebuilder::plan(plan->checkpoint_, dir, settings.files)));
  return plan;
}

std::vector<Range> Plan::used_ranges() const {
  std::vector<Range> ranges;
  for (const image::Task& task : checkpoint_.tasks)
    if (task.mm)
      for (const image::VmaEntry& vma : task.mm->vmas) ranges.push_back({vma.start, vma.end});
  return ranges;
}

int Plan::first_fd() const {
  uint32_t highest = 2;
  for (const image::Task& task : checkpoint_.tasks)
    for (const image::FdinfoEntry& fd : task.fds) highest = std::max(highest, fd.fd);
  return static_cast<int>(highest) + 1;
}

uint32_t Plan::thread_count() const {
  uint32_t count = 0;
  for (const image::Task& task : checkpoint_.tasks)
    if (!task.dead()) count += static_cast<uint32_t>(task.tree.threads.size());
  return count;
}

std::vector<pid_t> Plan::children(const image::Task& task, Role role) const {
  std::vector<pid_t> pids;
  for (const Birth& birth : tree_.births)
    if (birth.role == role && birth.parent >= 0 && tree_.births[static_cast<size_t>(birth.parent)].task == &task) pids.push_back(birth.pid);
  return pids;
}

namespace {

class Programmer {
 public:
  Programmer(const Plan& plan, const objects::FileRebuilder& files, const image::Task& task, const ProgramContext& context)
      : plan_(plan), files_(files), task_(task), context_(context), space_(task, context.space, context.pages_fd) {}

  Result<TaskPrograms> run() {
    TRY(space_.check());
    agent::Program& p = out_.leader;
    out_.calls.resize(task_.tree.threads.size());
    files_.rebuild_descriptors(task_, p);
    // A huge page where one page is read ahead would make the others of it present, as zeros. The process's own setting follows below.
    p.syscall("no huge pages meanwhile", SYS_prctl, {PR_SET_THP_DISABLE, 1, 0, 0, 0});
    space_.build(p);
    space_.hand_over_faults(p, context_.fault_socket, context_.token);
    space_.set_layout(p);
    children(p);
    for (const auto& state : objects::task_states()) state->before_threads(task_, p);
    for (size_t i = 0; i < task_.threads.size(); ++i) TRY(thread(i));
    files_.rebuild_relations(task_, p);
    for (const auto& state : objects::task_states()) state->rebuild(task_, p);
    directories(p);  // late, because some of the state is set through /proc, which a new root may not have
    p.syscall("close the descriptors of the restore", SYS_close_range, {context_.first_fd, ~0u, 0});
    finish(task_.core, 0, p);
    out_.ranges = space_.ranges();
    return std::move(out_);
  }

 private:
  void directories(agent::Program& p) const {
    const image::FsEntry& fs = *task_.fs;
    const image::FileEntry* root = plan_.checkpoint().file(fs.root_id);
    if (root && root->reg && root->reg->name != "/") {
      p.syscall("go to the root directory", SYS_fchdir, {files_.fd_of(fs.root_id)});
      p.syscall("change the root directory", SYS_chroot, {p.text(".")});
    }
    p.syscall("go to the working directory", SYS_fchdir, {files_.fd_of(fs.cwd_id)});
    if (fs.umask) p.syscall("umask", SYS_umask, {*fs.umask});
  }

  // Helpers have to be gone, zombies have to be zombies, and the SIGCHLD of either must not be seen.
  void children(agent::Program& p) const {
    const auto zombies = plan_.children(task_, Role::kZombie), helpers = plan_.children(task_, Role::kHelper);
    for (pid_t pid : zombies) p.syscall(fmt::format("wait until {} is a zombie", pid), SYS_waitid, {P_PID, pid, p.space(sizeof(siginfo_t)), WEXITED | WNOWAIT, 0});
    for (pid_t pid : helpers) p.syscall(fmt::format("reap the helper {}", pid), SYS_wait4, {pid, 0, 0, 0});
    if (zombies.empty() && helpers.empty()) return;
    const timespec now = {0, 0};
    p.try_syscall("take the SIGCHLD back", SYS_rt_sigtimedwait, {p.value(uint64_t{1} << (SIGCHLD - 1)), 0, p.value(now), 8});
  }

  Result<void> thread(size_t i) {
    agent::Program& mine = out_.threads.emplace_back();
    finish(task_.threads[i], i + 1, mine);
    const auto [program, stack] = TRY(context_.place_thread(mine));
    agent::Program& p = out_.leader;
    const auto tid = p.value(static_cast<uint64_t>(task_.tree.threads[i + 1]));
    clone_args args = {};
    args.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    args.stack = stack;
    args.stack_size = kThreadStack;
    args.set_tid_size = 1;
    const auto data = p.value(args);
    p.point(data, offsetof(clone_args, set_tid), tid);
    p.clone_thread(fmt::format("make thread {}", task_.tree.threads[i + 1]), data, program);
    return {};
  }

  // The end of every thread's program: its own state, then it waits to be taken over, if need be in its interrupted call.
  void finish(const image::CoreEntry& core, size_t index, agent::Program& p) {
    for (const auto& state : objects::thread_states()) state->rebuild(core, p);
    for (const auto& state : objects::task_states()) state->finish(task_, p);
    p.barrier("everything is in place", context_.barrier, kReady);
    const auto call = plan_.checkpoint().interrupted.find(task_.tree.threads[index]);
    if (call != plan_.checkpoint().interrupted.end()) out_.calls[index] = interrupted_call(call->second, core.thread_info->gpregs, p);
    p.park();
  }

  static std::optional<agent::Program::Step> interrupted_call(const image::InterruptedCallEntry& call, const image::UserX86RegsEntry& r, agent::Program& p) {
    const timespec left = {static_cast<time_t>(call.remaining_ns / 1'000'000'000), static_cast<long>(call.remaining_ns % 1'000'000'000)};
    const char* what = "go back into the interrupted call";
    switch (call.nr) {
      case SYS_nanosleep: return p.try_syscall(what, call.nr, {p.value(left), r.si});
      case SYS_clock_nanosleep: return p.try_syscall(what, call.nr, {r.di, r.si, p.value(left), r.r10});
      case SYS_poll: return p.try_syscall(what, call.nr, {r.di, r.si, (call.remaining_ns + 999'999) / 1'000'000});
      case SYS_futex: return p.try_syscall(what, call.nr, {r.di, r.si, r.dx, p.value(left), r.r8, r.r9});
      default: return {};
    }
  }

  const Plan& plan_;
  const objects::FileRebuilder& files_;
  const image::Task& task_;
  const ProgramContext& context_;
  SpaceBuilder space_;
  TaskPrograms out_;
};

}  // namespace

Result<TaskPrograms> make_programs(const Plan& plan, const objects::FileRebuilder& files, const image::Task& task, const ProgramContext& context) {
  return Programmer(plan, files, task, context).run();
}

}  // namespace faultline::restore
