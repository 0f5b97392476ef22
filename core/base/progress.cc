#include "core/base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace faultline {

namespace {

constexpr int64_t kRedrawNs = 50'000'000;
// Work that is over sooner shows no bar at all, so that nothing flickers.
constexpr int64_t kFirstDrawNs = 200'000'000;
constexpr unsigned kBarWidth = 30;

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

void put(const std::string& text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); }

unsigned terminal_width() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

}  // namespace

std::string human_size(uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string bar_text(const std::string& what, uint64_t done, uint64_t total, double seconds, unsigned width) {
  done = std::min(done, total);
  const double part = total ? static_cast<double>(done) / static_cast<double>(total) : 0;
  const auto filled = static_cast<unsigned>(part * kBarWidth);
  const auto speed = seconds > 0 ? static_cast<uint64_t>(static_cast<double>(done) / seconds) : 0;
  std::string text = fmt::format("{} [{}{}] {:3.0f} %  {} of {}  {}/s", what, std::string(filled, '#'), std::string(kBarWidth - filled, ' '), part * 100,
                                 human_size(done), human_size(total), human_size(speed));
  if (text.size() > width) text.resize(width);
  return text;
}

void ProgressBar::total(uint64_t bytes) {
  if (!shown_) return;
  const int64_t now = now_ns();
  {
    std::lock_guard lock(drawing_);
    start_ns_ = now;
  }
  total_ = bytes;
  next_draw_ns_ = now + kFirstDrawNs;
}

void ProgressBar::advance(uint64_t bytes) {
  if (!shown_) return;
  const uint64_t done = done_.fetch_add(bytes) + bytes;
  const int64_t now = now_ns();
  int64_t due = next_draw_ns_;
  // Only one of the threads draws; the others go on with their work.
  if (due == 0 || now < due || !next_draw_ns_.compare_exchange_strong(due, now + kRedrawNs)) return;
  draw(done, now);
}

void ProgressBar::draw(uint64_t done, int64_t now) {
  std::lock_guard lock(drawing_);
  if (!shown_) return;
  // One column stays free: a terminal would begin a new line after the last one.
  put("\r" + bar_text(what_, done, total_, static_cast<double>(now - start_ns_) / 1e9, terminal_width() - 1) + "\x1b[K");
  drawn_ = true;
}

void ProgressBar::finish() {
  std::lock_guard lock(drawing_);
  shown_ = false;
  if (!drawn_) return;
  put("\r\x1b[K");
  drawn_ = false;
}

}  // namespace faultline
