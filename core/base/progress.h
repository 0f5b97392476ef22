#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

namespace faultline {

// A progress bar on standard error: bytes done, bytes in all, speed. Draws nothing unless it is switched on.
// All members but the constructor may be called from any thread.
class ProgressBar {
 public:
  // `what` stands in front of the bar. `shown`: usually whether standard error is a terminal.
  ProgressBar(std::string what, bool shown) : what_(std::move(what)), shown_(shown) {}
  ProgressBar(const ProgressBar&) = delete;
  // Removes the bar from the line.
  ~ProgressBar() { finish(); }

  // Sets how many bytes there are at most.
  void total(uint64_t bytes);
  void advance(uint64_t bytes);
  // Removes the bar, so that other text can be printed; later calls draw nothing.
  void finish();

 private:
  void draw(uint64_t done, int64_t now_ns);

  const std::string what_;
  std::atomic<bool> shown_;
  std::atomic<uint64_t> total_ = 0;
  std::atomic<uint64_t> done_ = 0;
  std::atomic<int64_t> next_draw_ns_ = 0;  // CLOCK_MONOTONIC
  std::mutex drawing_;                     // guards what follows, and the line on the terminal
  int64_t start_ns_ = 0;
  bool drawn_ = false;
};

// "17 B", "1.5 MiB", "2.0 GiB".
std::string human_size(uint64_t bytes);

// The text of the bar, `width` columns at most. Separate from the terminal, so that it can be tested.
std::string bar_text(const std::string& what, uint64_t done, uint64_t total, double seconds, unsigned width);

}  // namespace faultline
