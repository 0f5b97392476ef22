#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/agent/program.h"
#include "core/image/checkpoint.h"

namespace faultline::objects {

// A frozen thread, as the dump sees it.
struct ThreadView {
  pid_t pid;                // of its process
  pid_t tid;
  // "/proc/<pid>/task/<tid>/<name>"
  std::string proc(std::string_view name) const { return fmt::format("/proc/{}/task/{}/{}", pid, tid, name); }
};

// What only a thread itself can tell of its state, and how a thread is given it again. One kind of state, one file (design, decision 2).
// Dump: ask() adds operations to the program that runs inside the thread, collect() takes their results and what /proc and ptrace tell
// into the image. Restore: rebuild() adds operations to the program of the new thread, which run late: all of the process's memory,
// descriptors and threads are there. All addresses and ids are those of the tracee.
//
// An object belongs to one thread (or one task) and one round: ask() and then collect(), or rebuild() alone. What rebuild() compares with
// (credentials, limits) are those of the calling process, which the new threads must have inherited and not yet changed.
class ThreadState {
 public:
  virtual ~ThreadState() = default;
  virtual void ask(agent::Program& program) = 0;
  // `core` has thread_core set. The thread is ptrace-stopped by the calling thread. Errors: ENOTSUP for what an image cannot hold.
  virtual Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) = 0;
  virtual void rebuild(const image::CoreEntry& core, agent::Program& program) const = 0;
};

// The same for what a process has once; runs in its leader.
class TaskState {
 public:
  virtual ~TaskState() = default;
  // The process is frozen: what it has (the ids of its timers) can be looked up to know what to ask.
  virtual void ask(const ThreadView& leader, agent::Program& program) = 0;
  // `task` has core.tc, core.thread_core and mm set (mm only for `dumpable` and `thp_disabled`).
  virtual Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) = 0;
  virtual void rebuild(const image::Task& task, agent::Program& program) const = 0;
  // Added to the leader's program while it is the only thread, its children are there, and all its signals are blocked. From then on the other
  // threads rebuild their own states beside it: this is for what has to stand before any of those.
  virtual void before_threads(const image::Task& /*task*/, agent::Program& /*program*/) const {}
  // Added to the program of EVERY thread, the leader too, behind its thread states: what the kernel keeps for each thread but an image for
  // the process, and what each change of credentials undoes for the whole process (so whichever thread comes last sets it right again).
  virtual void finish(const image::Task& /*task*/, agent::Program& /*program*/) const {}
};

// All kinds, in the order in which a process is rebuilt: credentials last, because they take away the right to do the rest.
std::vector<std::unique_ptr<TaskState>> task_states();
std::vector<std::unique_ptr<ThreadState>> thread_states();

}  // namespace faultline::objects
