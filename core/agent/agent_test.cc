// Runs a copy of the blob's bytes in this process: shows that the code is position-independent and needs nothing outside itself.
#include <sched.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "core/agent/program.h"

namespace faultline::agent {
namespace {

using Run = void (*)(ProgramHeader*, Barrier*);

struct Loaded {
  Mapping code;
  Mapping data;
  Run run;
};

Loaded load_blob() {
  const Blob b = blob();
  Mapping code = *Mapping::map(page_up(b.code.size()), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "code");
  std::memcpy(code.data(), b.code.data(), b.code.size());
  REQUIRE(mprotect(code.data(), code.size(), PROT_READ | PROT_EXEC) == 0);
  Mapping data = *Mapping::map(1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "data");
  const Run run = reinterpret_cast<Run>(code.data() + b.run_offset);
  return {std::move(code), std::move(data), run};
}

ProgramHeader* place(const Program& p, std::byte* at) {
  p.load(reinterpret_cast<Vaddr>(at), {at, p.size()});
  return reinterpret_cast<ProgramHeader*>(at);
}

TEST_CASE("a program passes results on, reads and writes its data") {
  Loaded l = load_blob();
  Program p;
  const auto fds = p.space(8);
  const auto word = p.value<uint64_t>(0);
  p.syscall("make a pipe", SYS_pipe2, {fds, 0});
  const auto dup = p.syscall("duplicate", SYS_dup, {1});
  const auto closed = p.syscall("close the duplicate", SYS_close, {dup});
  p.store("remember", word, dup);
  const auto bad = p.try_syscall("close nothing", SYS_close, {-1});
  l.run(place(p, l.data.data()), nullptr);
  REQUIRE(p.take_results({l.data.data(), p.size()}));
  CHECK(p.result(closed) == 0);
  CHECK(p.result(bad) == -EBADF);
  CHECK(p.get<uint64_t>(word) == static_cast<uint64_t>(p.result(dup)));
  close(p.get<int>(fds));
  close(p.get<int>(fds, 4));
}

TEST_CASE("a failed operation stops the program and is told with its purpose") {
  Loaded l = load_blob();
  Barrier barrier = {};
  Program p;
  p.syscall("close nothing", SYS_close, {-1});
  p.syscall("never reached", SYS_exit_group, {1});
  l.run(place(p, l.data.data()), &barrier);
  const auto result = p.take_results({l.data.data(), p.size()});
  REQUIRE_FALSE(result);
  CHECK(result.error().code == EBADF);
  CHECK(result.error().what.find("close nothing") != std::string::npos);
  CHECK(barrier.failed == 1);
}

TEST_CASE("threads are cloned with their own program and meet at a barrier") {
  Loaded l = load_blob();
  auto* barrier = reinterpret_cast<Barrier*>(l.data.data());
  Program thread;
  thread.barrier("meet", reinterpret_cast<Vaddr>(barrier), 0);
  thread.syscall("end the thread", SYS_exit, {0});
  std::byte* const thread_at = l.data.data() + 0x1000;
  place(thread, thread_at);
  Program p;
  clone_args args = {};
  args.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  args.stack = reinterpret_cast<uint64_t>(l.data.data() + 0x4000);
  args.stack_size = 0x1000;
  const auto clone = p.clone_thread("clone a thread", p.value(args), reinterpret_cast<uint64_t>(thread_at));
  l.run(place(p, l.data.data() + 0x2000), barrier);
  REQUIRE(p.take_results({l.data.data() + 0x2000, p.size()}));
  CHECK(p.result(clone) > 0);
  while (__atomic_load_n(&barrier->arrived[0], __ATOMIC_SEQ_CST) == 0) sched_yield();
  __atomic_store_n(&barrier->opened, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_futex, &barrier->opened, 1 /* FUTEX_WAKE */, 10, nullptr, nullptr, 0);
  while (syscall(SYS_tgkill, getpid(), p.result(clone), 0) == 0) sched_yield();
}

}  // namespace
}  // namespace faultline::agent
