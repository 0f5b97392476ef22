#pragma once

#include <deque>
#include <string>

#include "lazy/remote.h"
#include "pageserver/endpoint.h"

namespace faultline::lazy::test {

// A page server whose test says what it answers, and when. It serves one connection at a time, in the calling thread; waiting ends after 10 s
// with a failure of the test.
class ScriptedServer {
 public:
  ScriptedServer();

  // How the pager gets here.
  RemoteOptions options() const;

  // Waits for a connection, and lets it say hello; any earlier one is closed. `criu`: as a server that speaks CRIU's protocol only.
  void accept(bool criu = false);
  // Closes the connection.
  void hang_up() { socket_.reset(); }

  struct Read {
    uint64_t id;
    bool urgent;
    std::vector<pageserver::Range> ranges;
  };
  // Waits for the next READ, or GET. PINGs are answered on the way; `answer_pings`: false: they are not.
  Read read(bool answer_pings = true);
  // Whether a connection waits to be accepted, or its client has closed the one that is, within this time.
  bool left_within(std::chrono::milliseconds time);

  // Sends the pages of Target, by CRIU's protocol too. `last`: with them the answer is complete.
  void send(const Read& read, bool last = true);
  void fail(const Read& read, int code, const std::string& what);

 private:
  bool fill(size_t size);
  std::string take(size_t size);
  pageserver::Frame frame();

  pageserver::Listener listener_;
  UniqueFd socket_;
  bool criu_ = false;
  std::string in_, frame_;
};

}  // namespace faultline::lazy::test
