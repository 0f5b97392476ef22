#include "pageserver/ring.h"

#include <sys/mman.h>
#include <unistd.h>

namespace faultline::pageserver {

Result<std::unique_ptr<Ring>> Ring::make(unsigned entries, bool newer) {
  std::unique_ptr<Ring> ring(new Ring);
  ring->multishot_accept_ = ring->newer_ = newer;
  // One thread submits, and completions are worked off when it asks for them, not in between (Linux 6.1). Then as it was before.
  const unsigned choices[] = {IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_R_DISABLED};
  int code = -EINVAL;
  for (const unsigned flags : std::span(choices).subspan(newer ? 0 : 1)) {
    code = io_uring_queue_init(entries, &ring->ring_, flags);
    if (code != -EINVAL) break;
  }
  if (code < 0) return error(-code, "page server: cannot set up io_uring: {}", errno_text(-code));
  ring->made_ = true;
  return ring;
}

Result<void> Ring::begin() {
  const int code = io_uring_enable_rings(&ring_);
  if (code < 0) return error(-code, "page server: cannot enable io_uring: {}", errno_text(-code));
  make_buffers();
  return {};
}

// Without them (before Linux 6.0, which brought both these and receiving many times) sockets are polled and read.
void Ring::make_buffers() {
  if (!newer_) return;
  auto ring = Mapping::map(kBuffers * sizeof(io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "a ring of buffers");
  auto memory = Mapping::map(kBuffers * kBufferSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "buffers for requests");
  if (!ring || !memory) return;
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uintptr_t>(ring->data());
  registration.ring_entries = kBuffers;
  registration.bgid = kGroup;
  if (io_uring_register_buf_ring(&ring_, &registration, 0) < 0) return;
  buffer_ring_ = std::move(*ring);
  buffer_memory_ = std::move(*memory);
  buffers_ = reinterpret_cast<io_uring_buf_ring*>(buffer_ring_.data());
  io_uring_buf_ring_init(buffers_);
  for (unsigned i = 0; i < kBuffers; ++i)
    io_uring_buf_ring_add(buffers_, buffer_memory_.data() + i * kBufferSize, kBufferSize, static_cast<uint16_t>(i), kBuffers - 1, static_cast<int>(i));
  io_uring_buf_ring_advance(buffers_, kBuffers);
}

void Ring::no_receive() { buffers_ = nullptr; }  // the memory stays until the end: buffers may be on their way

Ring::~Ring() {
  if (made_) io_uring_queue_exit(&ring_);
}

io_uring_sqe* Ring::sqe(Completion* to) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
  }
  FL_CHECK(entry != nullptr);  // submitting makes room, whatever becomes of the operations
  io_uring_sqe_set_data(entry, to);
  return entry;
}

// The data of an entry is set after io_uring_prep_*(): of liburing 2.3 these clear it.
void Ring::accept(int fd, Completion& to) {
  io_uring_sqe* const entry = sqe(&to);
  if (multishot_accept_) io_uring_prep_multishot_accept(entry, fd, nullptr, nullptr, SOCK_CLOEXEC);
  else io_uring_prep_accept(entry, fd, nullptr, nullptr, SOCK_CLOEXEC);
  io_uring_sqe_set_data(entry, &to);
}

void Ring::receive(int fd, Completion& to) {
  io_uring_sqe* const entry = sqe(&to);
  io_uring_prep_recv_multishot(entry, fd, nullptr, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = kGroup;
  io_uring_sqe_set_data(entry, &to);
}

void Ring::nop(Completion& to) {
  io_uring_sqe* const entry = sqe(&to);
  io_uring_prep_nop(entry);
  io_uring_sqe_set_data(entry, &to);
}

void Ring::read(int fd, void* buffer, size_t size, uint64_t offset, Completion& to) {
  io_uring_sqe* const entry = sqe(&to);
  io_uring_prep_read(entry, fd, buffer, static_cast<unsigned>(size), offset);
  io_uring_sqe_set_data(entry, &to);
}

// Not IORING_OP_SEND_ZC: over loopback 256 KiB take 31 to 34 us of the processor with it and 37 without, and the buffer stays occupied until
// the other side has read it all, which for a slow reader is what the small chunks are to prevent.
void Ring::send(int fd, const msghdr& message, Completion& to) {
  io_uring_sqe* const entry = sqe(&to);
  io_uring_prep_sendmsg(entry, fd, &message, MSG_NOSIGNAL | MSG_WAITALL);
  io_uring_sqe_set_data(entry, &to);
}

void Ring::poll(int fd, short events, Completion& to) {
  io_uring_sqe* const entry = sqe(&to);
  io_uring_prep_poll_add(entry, fd, static_cast<unsigned>(events));
  io_uring_sqe_set_data(entry, &to);
}

void Ring::cancel(Completion& to) {
  io_uring_sqe* const entry = sqe(nullptr);
  io_uring_prep_cancel(entry, &to, 0);
  io_uring_sqe_set_data(entry, nullptr);
}

void Ring::after(std::chrono::milliseconds time, Completion& to) {
  timeout_ = {.tv_sec = time.count() / 1000, .tv_nsec = time.count() % 1000 * 1000000};
  io_uring_sqe* const entry = sqe(&to);
  io_uring_prep_timeout(entry, &timeout_, 0, 0);
  io_uring_sqe_set_data(entry, &to);
}

Result<size_t> Ring::turn(bool wait) {
  const int code = wait ? io_uring_submit_and_wait(&ring_, 1) : io_uring_submit_and_get_events(&ring_);
  if (code < 0 && code != -EINTR && code != -EAGAIN && code != -EBUSY) return error(-code, "page server: io_uring: {}", errno_text(-code));
  for (size_t all = 0;;) {
    io_uring_cqe* cqes[64];
    const unsigned n = io_uring_peek_batch_cqe(&ring_, cqes, 64);
    if (n == 0) return all;
    all += n;
    for (unsigned i = 0; i < n; ++i) {
      auto* const to = static_cast<Completion*>(io_uring_cqe_get_data(cqes[i]));
      const int result = cqes[i]->res;
      const uint32_t flags = cqes[i]->flags;
      if (to != nullptr) to->completed(result, flags);
    }
    io_uring_cq_advance(&ring_, n);
  }
}

void Ring::close(const Completion& accept) {
  io_uring_cqe* cqe;
  unsigned head, seen = 0;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++seen;
    if (io_uring_cqe_get_data(cqe) == &accept && cqe->res >= 0) ::close(cqe->res);
  }
  io_uring_cq_advance(&ring_, seen);
  io_uring_queue_exit(&ring_);
  made_ = false;
}

std::span<const std::byte> Ring::received(int result, uint32_t flags) const {
  return {buffer_memory_.data() + (flags >> IORING_CQE_BUFFER_SHIFT) * kBufferSize, static_cast<size_t>(result)};
}

void Ring::give_back(uint32_t flags) {
  if (buffers_ == nullptr) return;
  const auto id = static_cast<uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
  io_uring_buf_ring_add(buffers_, buffer_memory_.data() + id * kBufferSize, kBufferSize, id, kBuffers - 1, 0);
  io_uring_buf_ring_advance(buffers_, 1);
}

}  // namespace faultline::pageserver
