#include "lazy/disk_reader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace faultline::lazy {

namespace {

constexpr uint64_t kWakeTag = UINT64_MAX;

}  // namespace

Result<void> DiskReader::start() {
  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!wake_) return sys_error("pager: cannot create an eventfd");
  const int code = io_uring_queue_init(kInFlight * 2, &ring_, 0);
  if (code < 0) return error(-code, "pager: cannot set up io_uring: {}", errno_text(-code));
  ring_made_ = true;
  buffers_ = std::make_unique_for_overwrite<std::byte[]>(kInFlight * kBlock);
  slots_.resize(kInFlight);
  for (unsigned i = 0; i < kInFlight; ++i) free_slots_.push_back(i);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& e) {
    return error(e.code().value(), "pager: cannot start the thread that reads from disk: {}", e.what());
  }
  return {};
}

DiskReader::~DiskReader() {
  stop();
  if (ring_made_) io_uring_queue_exit(&ring_);
}

void DiskReader::stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

void DiskReader::want(const Wanted& wanted, const Waiter* waiter) {
  {
    std::lock_guard lock(mutex_);
    for (uint64_t at = wanted.offset; at < wanted.offset + wanted.length; at += kBlock) {
      const Read read = {{wanted.file, at}, std::min(kBlock, wanted.offset + wanted.length - at)};
      const auto [it, fresh] = waiting_.try_emplace(read.key);
      if (waiter != nullptr) it->second.push_back(*waiter);
      if (!fresh) continue;
      // Demand goes before what is read ahead.
      if (waiter != nullptr)
        queue_.push_front(read);
      else
        queue_.push_back(read);
    }
    if (waiter == nullptr) background_ = 1;
  }
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void DiskReader::submit_queued() {
  std::lock_guard lock(mutex_);
  while (!queue_.empty() && !free_slots_.empty()) {
    const unsigned slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = queue_.front();
    queue_.pop_front();
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    FL_CHECK(sqe != nullptr);  // the ring has room for all slots and the wake-up
    const Read& read = slots_[slot];
    io_uring_prep_read(sqe, memory_.files[read.key.first].fd(), buffers_.get() + slot * kBlock, static_cast<unsigned>(read.length),
                       read.key.second);
    io_uring_sqe_set_data64(sqe, slot);
  }
}

void DiskReader::finish(unsigned slot, int result) {
  std::vector<Waiter> waiters;
  bool idle = false;
  {
    std::lock_guard lock(mutex_);
    const auto it = waiting_.find(slots_[slot].key);
    waiters = std::move(it->second);
    waiting_.erase(it);
    free_slots_.push_back(slot);
    if (waiting_.empty() && background_ != 0) {
      background_ = 0;
      idle = true;
    }
  }
  if (!waiters.empty()) ready_(waiters, result < 0 ? -result : 0);
  if (idle) idle_();
}

void DiskReader::run() {
  bool listening = false;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (!listening) {
      io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
      FL_CHECK(sqe != nullptr);
      io_uring_prep_read(sqe, wake_.get(), &wake_value_, sizeof wake_value_, 0);
      io_uring_sqe_set_data64(sqe, kWakeTag);
      listening = true;
    }
    submit_queued();
    const int code = io_uring_submit_and_wait(&ring_, 1);
    if (code < 0 && code != -EINTR && code != -EAGAIN) FL_CHECK(!"io_uring_submit_and_wait");
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const uint64_t tag = io_uring_cqe_get_data64(cqe);
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (tag == kWakeTag)
        listening = false;
      else
        finish(static_cast<unsigned>(tag), result);
    }
  }
}

}  // namespace faultline::lazy
