#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "core/dump/dump.h"
#include "pageserver/counters.h"

namespace faultline::dump {

struct LiveSettings {
  std::string address;  // to listen on; empty: loopback
  uint16_t port = 0;    // 0: one that the kernel chooses
  // Makes the stream of an accepted connection; empty: a plain one. Called by other threads.
  std::function<Result<std::unique_ptr<pageserver::Stream>>(UniqueFd)> make_stream;
  pageserver::Counters* counters = nullptr;  // where to count; nullptr: nowhere
  std::function<Result<void>(const std::string& address)> ready;  // clients may come; a failure lets the tree run on
  int stop = -1;                                                  // a signalfd: its first signal takes the tree back; -1: none
  std::chrono::milliseconds page_timeout = std::chrono::seconds(60);  // for a client that does not come back, or does not answer
  Afterwards afterwards = Afterwards::kKill;                      // once the client has everything: kKill or kStop
};

// Gives a frozen tree to one client, which makes it again elsewhere and fetches its memory from here (pageserver/PROTOCOL.md; CRIU's
// protocol too). Nothing of that memory is stored here. The images in `dir` are complete. To be called by the thread that has frozen the tree.
Served serve_live(const image::ImageDir& dir, FrozenTree& tree, const LiveSettings& settings);

}  // namespace faultline::dump
