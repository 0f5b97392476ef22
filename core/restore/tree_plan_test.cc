// Plays the plan on a model of clone, setsid and setpgid, and compares what comes out with the image.
#include "core/restore/tree_plan.h"

#include <catch2/catch.hpp>
#include <map>

using namespace faultline;
using restore::Birth;
using restore::Role;
using restore::TreePlan;

namespace {

struct Spec { uint32_t pid, ppid, pgid, sid; bool dead = false; };

image::Checkpoint checkpoint(std::initializer_list<Spec> specs) {
  image::Checkpoint c;
  for (const Spec& s : specs) {
    image::Task task;
    task.tree = {.pid = s.pid, .ppid = s.ppid, .pgid = s.pgid, .sid = s.sid, .threads = {s.pid}};
    task.core.tc.emplace().task_state = s.dead ? image::kTaskDead : image::kTaskAlive;
    c.tasks.push_back(task);
  }
  return c;
}

struct Process { pid_t parent, sid, pgid, first_sid, first_pgid; };

std::map<pid_t, Process> play(const TreePlan& plan) {
  std::map<pid_t, Process> now;
  for (const Birth& b : plan.births) {
    const pid_t parent = b.parent < 0 ? 0 : plan.births[static_cast<size_t>(b.parent)].pid;
    Process p{parent, 77, 77, 77, 77};
    if (b.creator >= 0) {
      const Birth& creator = plan.births[static_cast<size_t>(b.creator)];
      const Process& c = now.at(creator.pid);
      p.sid = p.first_sid = b.before_setsid ? c.first_sid : c.sid;
      p.pgid = p.first_pgid = b.before_setsid ? c.first_pgid : c.pgid;
      // CLONE_PARENT gives the parent of the creator.
      CHECK((b.creator == b.parent || c.parent == parent));
    }
    if (b.new_session) p.sid = p.pgid = b.pid;
    now[b.pid] = p;
  }
  for (const Birth& b : plan.births)
    if (b.pgid) {
      const bool own = b.pgid == b.pid;
      if (!own) CHECK(now.at(b.pgid).sid == now.at(b.pid).sid);
      now.at(b.pid).pgid = b.pgid;
    }
  return now;
}

void check(std::initializer_list<Spec> specs, bool shell_job = false) {
  const image::Checkpoint c = checkpoint(specs);
  const auto plan = TreePlan::make(c, shell_job);
  INFO((plan ? plan->describe() : plan.error().what));
  REQUIRE(plan);
  const auto now = play(*plan);
  const Spec& root = *specs.begin();
  for (const Spec& s : specs) {
    const Process& p = now.at(static_cast<pid_t>(s.pid));
    CHECK(p.parent == static_cast<pid_t>(s.ppid));
    CHECK(p.sid == (root.sid != root.pid && s.sid == root.sid ? 77 : static_cast<pid_t>(s.sid)));
    CHECK(p.pgid == (root.sid != root.pid && s.pgid == root.pgid && s.pgid != root.pid ? 77 : static_cast<pid_t>(s.pgid)));
  }
}

}  // namespace

TEST_CASE("trees with their sessions and groups come out as they were") {
  SECTION("one process") { check({{10, 0, 10, 10}}); }
  SECTION("children in the session and a group of their own") { check({{10, 0, 10, 10}, {11, 10, 10, 10}, {12, 10, 12, 10}, {13, 12, 12, 10}}); }
  SECTION("a child with its own session") { check({{10, 0, 10, 10}, {11, 10, 11, 11}, {12, 11, 11, 11}}); }
  SECTION("a child made before its parent's setsid") { check({{10, 0, 10, 10}, {11, 10, 11, 11}, {12, 11, 10, 10}}); }
  SECTION("a daemon whose session leader has ended") { check({{10, 0, 10, 10}, {12, 10, 11, 11}}); }
  SECTION("two of them") { check({{10, 0, 10, 10}, {12, 10, 11, 11}, {13, 10, 11, 11}, {14, 12, 11, 11}}); }
  SECTION("a leader that stands behind its member") { check({{10, 0, 10, 10}, {12, 10, 11, 11}, {11, 10, 11, 11}}); }
  SECTION("a group whose leader has ended") { check({{10, 0, 10, 10}, {12, 10, 11, 10}, {13, 10, 11, 10}}); }
  SECTION("a zombie that leads a group") { check({{10, 0, 10, 10}, {11, 10, 11, 10, true}, {12, 10, 11, 10}}); }
  SECTION("in the session of the caller") { check({{10, 0, 10, 5}, {11, 10, 10, 5}, {12, 10, 12, 5}}, true); }
  SECTION("in the group of the caller") { check({{10, 0, 6, 5}, {11, 10, 6, 5}, {12, 10, 12, 12}}, true); }
}

TEST_CASE("what cannot be made is refused") {
  const auto outside = checkpoint({{10, 0, 10, 5}});
  CHECK(TreePlan::make(outside, false).error().what.find("--shell-job") != std::string::npos);
  const auto stranger = checkpoint({{10, 0, 10, 10}, {11, 10, 11, 11}, {12, 10, 12, 12}, {13, 11, 12, 12}});
  CHECK(TreePlan::make(stranger, false).error().code == ENOTSUP);
}
