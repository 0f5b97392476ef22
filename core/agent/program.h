#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/agent/abi.h"
#include "core/base/mapping.h"
#include "core/base/result.h"

namespace faultline::agent {

// A list of operations under construction, on our side, and its results once it has run.
// Built without knowing where it will stand in the tracee: `load` fixes the addresses.
//
//   Program p;
//   Data stack = p.space(sizeof(stack_t));
//   Step ask = p.syscall("sigaltstack", SYS_sigaltstack, {0, stack});
//   ... run it ...
//   stack_t ss = p.get<stack_t>(stack);
class Program {
 public:
  struct Step { uint32_t index; };      // an operation; as an argument: its result
  struct Data { uint32_t offset; };     // bytes that travel with the program; as an argument: their address in the tracee

  class Arg {
   public:
    Arg(uint64_t value) : value_(value) {}                        // NOLINT: arguments are written as they are
    Arg(int value) : value_(static_cast<uint64_t>(static_cast<int64_t>(value))) {}
    Arg(long value) : value_(static_cast<uint64_t>(value)) {}
    Arg(unsigned value) : value_(value) {}
    Arg(Step step) : kind_(Kind::kStep), value_(step.index) {}
    Arg(Data data) : kind_(Kind::kData), value_(data.offset) {}

   private:
    friend class Program;
    enum class Kind { kValue, kStep, kData } kind_ = Kind::kValue;
    uint64_t value_ = 0;
  };

  // `what` says in words what the operation is for; it appears in --dry-run and in errors. It must outlive nothing: it is copied.
  Step syscall(std::string_view what, long nr, std::initializer_list<Arg> args);
  // The same, but the program goes on if the call fails.
  Step try_syscall(std::string_view what, long nr, std::initializer_list<Arg> args);
  // The same for a transfer, whose third argument is a length: anything less fails with EIO.
  Step transfer(std::string_view what, long nr, std::initializer_list<Arg> args);
  Step store(std::string_view what, Arg where, Arg value);
  Step barrier(std::string_view what, Vaddr barrier, unsigned stage);
  Step clone_thread(std::string_view what, Arg clone_args, Arg thread_program);
  Step park();

  // Bytes to be put into the tracee with the program (8-byte aligned); space() is zeroed.
  Data data(std::span<const std::byte> bytes);
  Data space(size_t size);
  template <typename T>
  Data value(const T& v) { return data(std::as_bytes(std::span(&v, 1))); }
  Data text(std::string_view s);  // with a terminating NUL
  // Puts an address inside `data` to be fixed on load: the 8 bytes at `where` + `at` become the address of `target` + `plus`.
  void point(Data where, size_t at, Data target, size_t plus = 0);

  // The result of an earlier operation is written to the 8 bytes at `where` + `at`, as an operation of its own.
  Step point_store(Data where, size_t at, Step step);

  bool empty() const { return ops_.empty(); }
  size_t ops() const { return ops_.size(); }
  // Bytes that the loaded program takes, a multiple of 16.
  size_t size() const;
  // Writes the program as it must stand at address `base` in the tracee. `to` must have size() bytes.
  void load(Vaddr base, std::span<std::byte> to) const;
  // Takes the results over from the bytes of a program that has run. `enough`: so many operations are all that counts.
  // Errors: those of the failed operation, told with what it was for; EINTR if the program did not run that far.
  Result<void> take_results(std::span<const std::byte> from, size_t enough = SIZE_MAX);
  // From here on no operation that was added so far ends the program by failing.
  void let_all_fail();

  // Valid after take_results. A negative result is -errno (of operations that may fail).
  int64_t result(Step step) const { return ops_[step.index].result; }
  std::span<const std::byte> bytes(Data data, size_t size) const;
  template <typename T>
  T get(Data d, size_t at = 0) const {
    T v;
    __builtin_memcpy(&v, bytes(Data{static_cast<uint32_t>(d.offset + at)}, sizeof(T)).data(), sizeof(T));
    return v;
  }

  // One line per operation, for people.
  std::string describe() const;

 private:
  Step add(OpKind kind, std::string_view what, uint32_t flags, long nr, std::initializer_list<Arg> args);

  struct Point { uint32_t at; uint32_t target; };
  std::vector<Op> ops_;
  std::vector<uint32_t> data_args_;  // per operation: bit i set if args[i] is an offset in data_
  std::vector<std::string> what_;
  std::vector<std::byte> data_;
  std::vector<Point> points_;
};

// The bytes of the agent's code, position-independent. The entry of the interpreter (faultline_agent_run) is at `run_offset`.
struct Blob {
  std::span<const std::byte> code;
  size_t run_offset;
};
Blob blob();

}  // namespace faultline::agent
