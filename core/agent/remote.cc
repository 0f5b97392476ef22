#include "core/agent/remote.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "arch/entry.h"
#include "core/base/mapping.h"
#include "core/base/unique_fd.h"

namespace faultline::agent {

namespace {

constexpr size_t kStackSize = 1024;  // the interpreter needs 512 bytes
constexpr uint64_t kAllSignals = ~uint64_t{0};
// How long a thread waits at the end of its program for us, who are about to stop it. Only if we died is the time ever up.
constexpr time_t kPatienceSeconds = 5;

class Remote {
 public:
  Remote(pid_t pid, std::span<StoppedThread> threads, std::span<Program> programs) : pid_(pid), threads_(threads), programs_(programs) {}

  Result<void> run() {
    mem_ = UniqueFd(::open(fmt::format("/proc/{}/mem", pid_).c_str(), O_RDWR | O_CLOEXEC));
    if (!mem_) return sys_error("the memory of pid {} cannot be opened", pid_);
    TRY(place_call_stub());
    auto done = inside();
    // What was put in is taken out again also after a failure.
    auto out = leave();
    if (!done) return Failure(done.error());
    return out;
  }

 private:
  struct Slot { size_t program, stack_top, return_stub; };

  StoppedThread& leader() { return threads_[0]; }

  // Finds zero bytes at the end of executable code that nobody misses: first the vdso's, then any mapped file's.
  Result<void> place_call_stub() {
    const auto stub = arch::call_stub(leader().registers, leader().call, leader().blocked);
    std::ifstream maps(fmt::format("/proc/{}/maps", pid_));
    std::vector<Vaddr> ends;
    for (std::string line; std::getline(maps, line);) {
      Vaddr start, end;
      char perms[5];
      if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, perms) != 3 || std::string_view(perms) != "r-xp") continue;
      if (line.ends_with("[vdso]")) ends.insert(ends.begin(), end);
      else if (line.find('/') != std::string::npos) ends.push_back(end);
    }
    for (Vaddr end : ends) {
      saved_.resize(stub.size() + 16);
      stub_ = end - saved_.size();
      if (::pread(mem_.get(), saved_.data(), saved_.size(), static_cast<off_t>(stub_)) != static_cast<ssize_t>(saved_.size())) continue;
      const Vaddr aligned = (stub_ + 15) & ~Vaddr{15};
      const std::span<std::byte> place = std::span(saved_).subspan(aligned - stub_, stub.size());
      stub_ = aligned;
      // A dump that was killed has left its stub, which the next one takes away, unless a thread is still in it.
      if (!is_zero(saved_) && arch::is_call_stub(place) && nobody_in(stub_, stub.size())) std::ranges::fill(place, std::byte{0});
      if (!is_zero(saved_)) continue;
      saved_.resize(stub.size());
      return pwrite_all(mem_.get(), stub.data(), stub.size(), static_cast<off_t>(stub_), "code in the program");
    }
    return error(ENOTSUP, "pid {}: no mapped code ends in {} zero bytes, where the agent could enter", pid_, stub.size() + 16);
  }

  static bool is_zero(std::span<const std::byte> bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
  }
  bool nobody_in(Vaddr start, size_t size) const {
    return std::ranges::none_of(threads_, [&](const StoppedThread& thread) { return thread.registers.general.rip - start < size; });
  }

  // One system call by the leader.
  Result<int64_t> call(long nr, const uint64_t (&args)[6]) {
    user_regs_struct g = leader().registers.general;
    arch::set_syscall(g, stub_, nr, args);
    // First the registers, then the mask: should we die in between, the stub sets the mask in any case.
    TRY(arch::write_general(leader().tracee.tid(), g));
    TRY(leader().tracee.block_signals(kAllSignals));
    entered_ = true;
    TRY(leader().tracee.run_one_syscall());
    return arch::syscall_result(TRY(arch::read_general(leader().tracee.tid())));
  }

  Result<Vaddr> checked_call(const char* what, long nr, const uint64_t (&args)[6]) {
    const int64_t result = TRY(call(nr, args));
    if (result < 0 && result >= -4095) return error(static_cast<int>(-result), "pid {}: {} for the agent: {}", pid_, what, errno_text(static_cast<int>(-result)));
    return static_cast<Vaddr>(result);
  }

  // The region: code and return stubs, then (from a new page on) programs and stacks.
  void lay_out(std::vector<std::byte>& image, size_t& code_size, std::vector<Slot>& slots) {
    const Blob code = blob();
    size_t at = (code.code.size() + 15) & ~size_t{15};
    for (const StoppedThread& thread : threads_) {
      slots.push_back({0, 0, at});
      at += (arch::return_stub(thread.registers, thread.call).size() + 15) & ~size_t{15};
    }
    code_size = page_up(at);
    at = code_size;
    for (size_t i = 0; i < slots.size(); ++i) {
      slots[i].program = at;
      at += programs_[i].size() + kStackSize;
      slots[i].stack_top = at - 16;
    }
    image.resize(page_up(at));
    std::copy(code.code.begin(), code.code.end(), image.begin());
  }

  Result<void> inside() {
    std::vector<Program::Step> last;
    for (size_t i = 0; i < programs_.size(); ++i) last.push_back(finish_program(programs_[i], threads_[i].blocked));
    std::vector<std::byte> image;
    std::vector<Slot> slots;
    size_t code_size = 0;
    lay_out(image, code_size, slots);
    region_size_ = image.size();
    region_ = TRY(checked_call("mmap", SYS_mmap, {0, region_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~uint64_t{0}, 0}));
    for (size_t i = 0; i < slots.size(); ++i) {
      programs_[i].load(region_ + slots[i].program, std::span(image).subspan(slots[i].program));
      const auto stub = arch::return_stub(threads_[i].registers, threads_[i].call);
      std::copy(stub.begin(), stub.end(), image.begin() + static_cast<std::ptrdiff_t>(slots[i].return_stub));
      const Vaddr return_to = region_ + slots[i].return_stub;
      std::memcpy(image.data() + slots[i].stack_top, &return_to, sizeof return_to);
    }
    TRY(transfer(true, image, 0));
    TRY(checked_call("mprotect", SYS_mprotect, {region_, code_size, PROT_READ | PROT_EXEC, 0, 0, 0}));
    auto finished = start(slots);
    if (finished) finished = wait_all(slots, last);
    for (StoppedThread& thread : threads_)
      if (auto stopped = stop_again(thread); !stopped && finished) finished = std::move(stopped);
    TRY(std::move(finished));
    TRY(transfer(false, image, code_size));
    for (size_t i = 0; i < slots.size(); ++i) TRY(programs_[i].take_results(std::span(image).subspan(slots[i].program), last[i].index));
    return {};
  }

  // Behind its last question a thread waits to be stopped. If nobody comes, it puts its mask back and goes its way.
  Program::Step finish_program(Program& program, uint64_t mask) {
    program.let_all_fail();
    const timespec patience = {kPatienceSeconds, 0};
    const auto wait = program.try_syscall("wait to be stopped", SYS_ppoll, {0, 0, program.value(patience), 0, 8});
    program.try_syscall("put the signal mask back", SYS_rt_sigprocmask, {SIG_SETMASK, program.value(mask), 0, 8});
    return wait;
  }

  Result<void> start(const std::vector<Slot>& slots) {
    const Vaddr run = region_ + blob().run_offset;
    for (size_t i = 0; i < threads_.size(); ++i) {
      StoppedThread& thread = threads_[i];
      TRY(arch::write_general(thread.tracee.tid(),
                              arch::run_registers(thread.registers, run, region_ + slots[i].program, region_ + slots[i].stack_top)));
      TRY(thread.tracee.block_signals(kAllSignals));
      TRY(thread.tracee.resume());
      running_ = i + 1;
    }
    return {};
  }

  // Looks at how far each program has come. Waiting by sleep would cost more than all the questions together.
  Result<void> wait_all(const std::vector<Slot>& slots, const std::vector<Program::Step>& last) {
    timespec begin, now;
    ::clock_gettime(CLOCK_MONOTONIC, &begin);
    for (size_t i = 0; i < slots.size(); ++i) {
      for (;;) {
        ProgramHeader header;
        const ssize_t got = ::pread(mem_.get(), &header, sizeof header, static_cast<off_t>(region_ + slots[i].program));
        if (got != static_cast<ssize_t>(sizeof header)) return error(ESRCH, "pid {} has ended", pid_);
        if (header.done >= last[i].index) break;
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begin.tv_sec >= kPatienceSeconds - 1) return error(ETIMEDOUT, "thread {} does not answer", threads_[i].tracee.tid());
        ::sched_yield();
      }
    }
    return {};
  }

  Result<void> stop_again(StoppedThread& thread) {
    if (&thread - threads_.data() >= static_cast<std::ptrdiff_t>(running_)) return {};
    TRY(thread.tracee.interrupt());
    const Vaddr at = TRY(arch::read_general(thread.tracee.tid())).rip;
    if (at < region_ || at >= region_ + region_size_) return error(ETIMEDOUT, "thread {} was not stopped in time", thread.tracee.tid());
    // First the mask, then the registers: in between the thread would still set its mask by itself.
    TRY(thread.tracee.block_signals(thread.blocked));
    return arch::write_general(thread.tracee.tid(), thread.registers.general);
  }

  Result<void> leave() {
    Result<void> done;
    if (region_) {
      auto unmapped = checked_call("munmap", SYS_munmap, {region_, region_size_, 0, 0, 0, 0});
      if (!unmapped) done = Failure(unmapped.error());
    }
    if (entered_) {
      TRY(leader().tracee.block_signals(leader().blocked));
      TRY(arch::write_general(leader().tracee.tid(), leader().registers.general));
    }
    TRY(pwrite_all(mem_.get(), saved_.data(), saved_.size(), static_cast<off_t>(stub_), "code in the program"));
    return done;
  }

  Result<void> transfer(bool write, std::vector<std::byte>& image, size_t from) {
    iovec here = {image.data() + from, image.size() - from};
    iovec there = {reinterpret_cast<void*>(region_ + from), image.size() - from};
    const ssize_t got = write ? ::process_vm_writev(pid_, &here, 1, &there, 1, 0) : ::process_vm_readv(pid_, &here, 1, &there, 1, 0);
    if (got < 0) return sys_error("the memory of pid {} cannot be {}", pid_, write ? "written" : "read");
    if (static_cast<size_t>(got) != here.iov_len) return error(EIO, "only {} of {} bytes of the agent in pid {} were transferred", got, here.iov_len, pid_);
    return {};
  }

  pid_t pid_;
  std::span<StoppedThread> threads_;
  std::span<Program> programs_;
  UniqueFd mem_;
  Vaddr stub_ = 0;
  std::vector<std::byte> saved_;
  Vaddr region_ = 0;
  size_t region_size_ = 0;
  size_t running_ = 0;
  bool entered_ = false;
};

}  // namespace

Result<void> run_in_threads(pid_t pid, std::span<StoppedThread> threads, std::span<Program> programs) {
  FL_CHECK(!threads.empty() && threads.size() == programs.size());
  return Remote(pid, threads, programs).run();
}

}  // namespace faultline::agent
