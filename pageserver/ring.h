#pragma once

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/result.h"

namespace faultline::pageserver {

// Who is told that an operation has ended. `result` is that of the system call, or a negative errno; `flags` are those of the completion:
// with IORING_CQE_F_MORE the operation goes on. Must stay where it is until the operation has ended.
class Completion {
 public:
  virtual void completed(int result, uint32_t flags) = 0;

 protected:
  ~Completion() = default;
};

// A member function of T that is told.
template <typename T, void (T::*method)(int, uint32_t)>
class Op final : public Completion {
 public:
  explicit Op(T& owner) : owner_(owner) {}
  void completed(int result, uint32_t flags) override { (owner_.*method)(result, flags); }

 private:
  T& owner_;
};

// An io_uring of one thread. Newer abilities of the kernel are used where it has them, and done without where not; each is found out by
// what the kernel answers.
class Ring {
 public:
  // `entries`: how many operations fit between two calls of turn(). `newer`: false: as on a kernel that has none of these abilities.
  // Errors: those of io_uring_setup(2).
  static Result<std::unique_ptr<Ring>> make(unsigned entries, bool newer = true);
  ~Ring();
  Ring(const Ring&) = delete;

  // To be called first by the thread that uses the ring.
  Result<void> begin();

  // These queue an operation, which begins at the next turn().
  void accept(int fd, Completion& to);  // the completion says with IORING_CQE_F_MORE whether it goes on
  // Bytes come in buffers of the ring: see received(). Only if can_receive().
  void receive(int fd, Completion& to);
  void read(int fd, void* buffer, size_t size, uint64_t offset, Completion& to);
  void send(int fd, const msghdr& message, Completion& to);
  void poll(int fd, short events, Completion& to);
  void nop(Completion& to);  // completes at the next turn
  void cancel(Completion& to);

  // Begins what is queued, waits for a completion if `wait`, and tells of all that have come, and how many. Errors: those of io_uring_enter(2).
  Result<size_t> turn(bool wait);
  // Ends the ring and what is queued, after an error: nobody is told any more. Sockets that `accept` has got and not told of are closed. The kernel
  // may for a moment go on with operations that were under way: write into their buffers, or accept a connection, which then is nobody's.
  void close(const Completion& accept);
  // After this time turn() returns, once, and tells.
  void after(std::chrono::milliseconds time, Completion& to);

  bool can_receive() const { return buffers_ != nullptr; }
  // The bytes of a completion of receive(), valid until give_back() with the same flags.
  std::span<const std::byte> received(int result, uint32_t flags) const;
  void give_back(uint32_t flags);
  // The kernel has said that it cannot accept more than one connection per operation, or not receive in this way.
  // False if that was known.
  bool no_multishot_accept() { return std::exchange(multishot_accept_, false); }
  void no_receive();

 private:
  static constexpr unsigned kBuffers = 64, kBufferSize = 4096;  // requests are small; more of them wait in the socket
  static constexpr int kGroup = 1;

  Ring() = default;
  io_uring_sqe* sqe(Completion* to);
  void make_buffers();

  io_uring ring_ = {};
  bool made_ = false;
  bool multishot_accept_ = true, newer_ = true;
  Mapping buffer_ring_, buffer_memory_;
  io_uring_buf_ring* buffers_ = nullptr;
  __kernel_timespec timeout_ = {};
};

}  // namespace faultline::pageserver
