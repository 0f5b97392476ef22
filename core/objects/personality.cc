// personality(2): the execution domain, and flags such as ADDR_NO_RANDOMIZE (setarch -R). The kernel keeps it per thread; an image has
// that of the leader.
#include <sys/personality.h>
#include <sys/syscall.h>

#include <charconv>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

constexpr uint32_t kAsk = 0xffffffff;

// CRIU 4.2 writes /proc/PID/personality, which is hexadecimal, as if it were decimal: 00040000 becomes 40000. Such numbers have bits that
// no personality has (between the domain and the flags, or in the domain), by which they are known.
uint32_t understood(uint32_t value) {
  const auto valid = [](uint32_t v) { return (v & 0xff) <= PER_HPUX && (v & 0xf001ff00u) == 0; };
  if (valid(value)) return value;
  const std::string digits = std::to_string(value);
  uint32_t hex = 0;
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), hex, 16);
  return end.ec == std::errc() && valid(hex) ? hex : value;
}

class Personality : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override { step_ = program.syscall("get the personality", SYS_personality, {kAsk}); }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    task.core.tc->personality = static_cast<uint32_t>(TRY(answer(leader, program, step_, "personality")));
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override { finish(task, program); }

  // By every thread, as each has its own.
  void finish(const image::Task& task, agent::Program& program) const override {
    program.syscall("set the personality", SYS_personality, {understood(task.core.tc->personality)});
  }

 private:
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<TaskState> make_personality() { return std::make_unique<Personality>(); }

}  // namespace faultline::objects
