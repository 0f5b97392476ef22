#include "core/restore/tree_plan.h"

#include <algorithm>
#include <map>
#include <set>

namespace faultline::restore {

namespace {

class Planner {
 public:
  Planner(const image::Checkpoint& checkpoint, bool shell_job) : checkpoint_(checkpoint), shell_job_(shell_job) {}

  Result<TreePlan> run() {
    for (const image::Task& task : checkpoint_.tasks) tasks_[task.pid()] = &task;
    const image::Task& root = checkpoint_.tasks.front();
    if (root.tree.sid != root.tree.pid && !shell_job_)
      return error(ENOTSUP, "pid {} is not the leader of its session ({}); restore it with --shell-job into the session of the caller", root.pid(), root.tree.sid);
    // Whoever waits for a creator is tried again: leaders may stand behind their members in the image.
    std::vector<const image::Task*> waiting;
    for (const image::Task& task : checkpoint_.tasks) waiting.push_back(&task);
    while (!waiting.empty()) {
      const size_t before = waiting.size();
      std::erase_if(waiting, [&](const image::Task* task) { return place(*task); });
      if (waiting.size() == before) return error(ENOTSUP, "{}", reason_);
    }
    for (const image::Task& task : checkpoint_.tasks) TRY(group(task));
    order();
    return std::move(plan_);
  }

 private:
  // The session in which a process is when it makes others: at last, or before its own setsid().
  pid_t session_of(int index) const { return sessions_[static_cast<size_t>(index)]; }
  pid_t first_session_of(int index) const {
    const Birth& birth = plan_.births[static_cast<size_t>(index)];
    if (birth.creator < 0) return 0;
    return birth.before_setsid ? first_session_of(birth.creator) : session_of(birth.creator);
  }

  int add(Birth birth, pid_t session) {
    plan_.births.push_back(birth);
    sessions_.push_back(session);
    const int index = static_cast<int>(plan_.births.size()) - 1;
    index_[birth.pid] = index;
    return index;
  }

  // Finds a creator for the task. False if none exists (yet).
  bool place(const image::Task& task) {
    const pid_t sid = static_cast<pid_t>(task.tree.sid);
    Birth birth = {.role = task.dead() ? Role::kZombie : Role::kTask, .pid = task.pid(), .task = &task};
    birth.new_session = sid == birth.pid;
    if (task.tree.ppid == 0) {
      add(birth, sid);
      return true;
    }
    const auto parent = index_.find(static_cast<pid_t>(task.tree.ppid));
    if (parent == index_.end()) return fail(birth.pid, sid);
    birth.parent = birth.creator = parent->second;
    if (birth.new_session || session_of(birth.parent) == sid) return add(birth, sid), true;
    if (plan_.births[static_cast<size_t>(birth.parent)].new_session && first_session_of(birth.parent) == sid) {
      birth.before_setsid = true;
      return add(birth, sid), true;
    }
    return place_by_sibling(birth, sid);
  }

  // A process that outlived its own parent was given to another one, in another session. Someone of its session who has the same
  // parent makes it: the leader itself, or a stand-in if the leader has ended.
  bool place_by_sibling(Birth birth, pid_t sid) {
    for (size_t i = 0; i < plan_.births.size(); ++i)
      if (plan_.births[i].parent == birth.parent && sessions_[i] == sid && plan_.births[i].role != Role::kZombie) {
        birth.creator = static_cast<int>(i);
        return add(birth, sid), true;
      }
    if (tasks_.contains(sid) || index_.contains(sid)) return fail(birth.pid, sid);
    birth.creator = add({.role = Role::kHelper, .pid = sid, .parent = birth.parent, .creator = birth.parent, .new_session = true}, sid);
    return add(birth, sid), true;
  }

  bool fail(pid_t pid, pid_t sid) {
    reason_ = fmt::format("pid {}: its session {} cannot be made for it by its parent or a sibling", pid, sid);
    return false;
  }

  Result<void> group(const image::Task& task) {
    const pid_t pgid = static_cast<pid_t>(task.tree.pgid);
    const int me = index_.at(task.pid());
    Birth& birth = plan_.births[static_cast<size_t>(me)];
    if (birth.new_session) {
      if (pgid != birth.pid) return error(EBADMSG, "pid {} leads its session, but is in the group {}", birth.pid, pgid);
      return {};
    }
    if (pgid == 0) return {};
    const auto leader = index_.find(pgid);
    if (leader != index_.end()) {
      if (session_of(leader->second) != session_of(me)) return error(EBADMSG, "pid {} is in the group {}, which is in another session", birth.pid, pgid);
      birth.pgid = pgid;
      return {};
    }
    // The session of the caller, and its group.
    const image::Task& root = checkpoint_.tasks.front();
    if (session_of(me) == static_cast<pid_t>(root.tree.sid) && root.tree.sid != root.tree.pid && pgid == static_cast<pid_t>(root.tree.pgid)) return {};
    birth.pgid = pgid;
    add({.role = Role::kHelper, .pid = pgid, .parent = me, .creator = me, .pgid = pgid}, session_of(me));
    return {};
  }

  // Creators before those they make.
  void order() {
    std::vector<Birth> sorted;
    std::vector<int> place(plan_.births.size(), -1);
    const auto visit = [&](auto& self, int i) -> void {
      Birth birth = plan_.births[static_cast<size_t>(i)];
      if (place[static_cast<size_t>(i)] >= 0) return;
      if (birth.creator >= 0) self(self, birth.creator), birth.creator = place[static_cast<size_t>(birth.creator)];
      if (birth.parent >= 0) self(self, birth.parent), birth.parent = place[static_cast<size_t>(birth.parent)];
      place[static_cast<size_t>(i)] = static_cast<int>(sorted.size());
      sorted.push_back(birth);
    };
    for (size_t i = 0; i < plan_.births.size(); ++i) visit(visit, static_cast<int>(i));
    plan_.births = std::move(sorted);
  }

  const image::Checkpoint& checkpoint_;
  bool shell_job_;
  std::map<pid_t, const image::Task*> tasks_;
  std::map<pid_t, int> index_;
  std::vector<pid_t> sessions_;  // by index in births
  TreePlan plan_;
  std::string reason_;
};

}  // namespace

Result<TreePlan> TreePlan::make(const image::Checkpoint& checkpoint, bool shell_job) { return Planner(checkpoint, shell_job).run(); }

std::string TreePlan::describe() const {
  std::string out;
  for (const Birth& birth : births) {
    out += fmt::format("pid {}{}", birth.pid, birth.role == Role::kZombie ? " (zombie)" : birth.role == Role::kHelper ? " (helper)" : "");
    if (birth.creator >= 0) out += fmt::format(", made by {}", births[static_cast<size_t>(birth.creator)].pid);
    if (birth.creator != birth.parent) out += fmt::format(" as a child of {}", births[static_cast<size_t>(birth.parent)].pid);
    if (birth.before_setsid) out += ", before its creator's setsid()";
    if (birth.new_session) out += ", setsid()";
    if (birth.pgid) out += fmt::format(", group {}", birth.pgid);
    out += '\n';
  }
  return out;
}

}  // namespace faultline::restore
