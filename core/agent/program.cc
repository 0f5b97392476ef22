#include "core/agent/program.h"

#include <algorithm>
#include <cstring>

extern "C" {
extern const std::byte __start_faultline_agent[];
extern const std::byte __stop_faultline_agent[];
}

namespace faultline::agent {

Blob blob() {
  const auto run = reinterpret_cast<const std::byte*>(&faultline_agent_run);
  return {.code = {__start_faultline_agent, __stop_faultline_agent}, .run_offset = static_cast<size_t>(run - __start_faultline_agent)};
}

Program::Step Program::add(OpKind kind, std::string_view what, uint32_t flags, long nr, std::initializer_list<Arg> args) {
  FL_CHECK(args.size() <= 6);
  Op op = {.kind = kind, .flags = flags, .nr = static_cast<uint64_t>(nr), .args = {}, .result = 0};
  uint32_t data_args = 0;
  size_t i = 0;
  for (const Arg& arg : args) {
    op.args[i] = arg.value_;
    if (arg.kind_ == Arg::Kind::kStep) op.flags |= kArgIsResult0 << i;
    if (arg.kind_ == Arg::Kind::kData) data_args |= 1u << i;
    ++i;
  }
  ops_.push_back(op);
  data_args_.push_back(data_args);
  what_.emplace_back(what);
  return Step{static_cast<uint32_t>(ops_.size() - 1)};
}

Program::Step Program::syscall(std::string_view what, long nr, std::initializer_list<Arg> args) {
  return add(OpKind::kSyscall, what, 0, nr, args);
}

Program::Step Program::try_syscall(std::string_view what, long nr, std::initializer_list<Arg> args) {
  return add(OpKind::kSyscall, what, kMayFail, nr, args);
}

Program::Step Program::transfer(std::string_view what, long nr, std::initializer_list<Arg> args) {
  return add(OpKind::kSyscall, what, kWhole, nr, args);
}

Program::Step Program::store(std::string_view what, Arg where, Arg value) {
  return add(OpKind::kStoreResult, what, 0, 0, {where, value});
}

Program::Step Program::barrier(std::string_view what, Vaddr barrier, unsigned stage) {
  return add(OpKind::kBarrier, what, 0, 0, {barrier, stage});
}

Program::Step Program::clone_thread(std::string_view what, Arg clone_args, Arg thread_program) {
  return add(OpKind::kCloneThread, what, 0, 0, {clone_args, thread_program});
}

Program::Step Program::park() { return add(OpKind::kPark, "wait to be taken over", 0, 0, {}); }

Program::Data Program::data(std::span<const std::byte> bytes) {
  const Data where = space(bytes.size());
  std::copy(bytes.begin(), bytes.end(), data_.begin() + where.offset);
  return where;
}

Program::Data Program::space(size_t size) {
  const size_t offset = data_.size();
  data_.resize((offset + size + 7) & ~size_t{7});
  return Data{static_cast<uint32_t>(offset)};
}

Program::Data Program::text(std::string_view s) {
  const Data where = space(s.size() + 1);
  std::memcpy(data_.data() + where.offset, s.data(), s.size());
  return where;
}

void Program::point(Data where, size_t at, Data target, size_t plus) {
  points_.push_back({static_cast<uint32_t>(where.offset + at), static_cast<uint32_t>(target.offset + plus)});
}

Program::Step Program::point_store(Data where, size_t at, Step step) {
  return store("keep a result", Data{static_cast<uint32_t>(where.offset + at)}, step);
}

size_t Program::size() const { return (sizeof(ProgramHeader) + ops_.size() * sizeof(Op) + data_.size() + 15) & ~size_t{15}; }

void Program::load(Vaddr base, std::span<std::byte> to) const {
  FL_CHECK(to.size() >= size());
  const ProgramHeader header = {.state = State::kReady, .count = static_cast<uint32_t>(ops_.size()), .done = 0, .reserved = 0};
  std::memcpy(to.data(), &header, sizeof header);
  const Vaddr data_base = base + sizeof header + ops_.size() * sizeof(Op);
  std::byte* at = to.data() + sizeof header;
  for (size_t i = 0; i < ops_.size(); ++i, at += sizeof(Op)) {
    Op op = ops_[i];
    for (int arg = 0; arg < 6; ++arg)
      if (data_args_[i] & (1u << arg)) op.args[arg] += data_base;
    std::memcpy(at, &op, sizeof op);
  }
  if (!data_.empty()) std::memcpy(at, data_.data(), data_.size());
  for (const Point& p : points_) {
    const uint64_t address = data_base + p.target;
    std::memcpy(at + p.at, &address, sizeof address);
  }
}

void Program::let_all_fail() {
  for (Op& op : ops_) op.flags |= kMayFail;
}

Result<void> Program::take_results(std::span<const std::byte> from, size_t enough) {
  FL_CHECK(from.size() >= size());
  ProgramHeader header;
  std::memcpy(&header, from.data(), sizeof header);
  const std::byte* at = from.data() + sizeof header;
  for (Op& op : ops_) {
    std::memcpy(&op.result, at + offsetof(Op, result), sizeof op.result);
    at += sizeof(Op);
  }
  if (!data_.empty()) std::memcpy(data_.data(), at, data_.size());
  if (header.state == State::kFailed && header.done < ops_.size()) {
    const auto code = static_cast<int>(-ops_[header.done].result);
    return error(code, "{}: {}", what_[header.done], errno_text(code));
  }
  if (header.state != State::kDone && header.done < enough) return error(EINTR, "the agent was stopped after {} of {} operations", header.done, ops_.size());
  return {};
}

std::span<const std::byte> Program::bytes(Data data, size_t size) const {
  FL_CHECK(data.offset + size <= data_.size());
  return std::span(data_).subspan(data.offset, size);
}

std::string Program::describe() const {
  std::string out;
  for (size_t i = 0; i < ops_.size(); ++i) {
    const Op& op = ops_[i];
    out += fmt::format("{:5}  {}", i, what_[i]);
    if (op.kind == OpKind::kSyscall) {
      out += fmt::format("  [{}](", op.nr);
      for (int arg = 0; arg < 6; ++arg) {
        const char* separator = arg == 0 ? "" : ", ";
        if (op.flags & (kArgIsResult0 << arg))
          out += fmt::format("{}result {}", separator, op.args[arg]);
        else if (data_args_[i] & (1u << arg))
          out += fmt::format("{}data+{:#x}", separator, op.args[arg]);
        else
          out += fmt::format("{}{:#x}", separator, op.args[arg]);
      }
      out += ')';
    }
    out += '\n';
  }
  return out;
}

}  // namespace faultline::agent
