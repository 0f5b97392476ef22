#include "lazy/test_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "lazy/test_target.h"

namespace faultline::lazy::test {

using pageserver::CriuHeader;
using pageserver::FrameHeader;
using pageserver::FrameType;
using pageserver::Range;

namespace {

constexpr int kPatienceMs = 10'000;

void send_all(int fd, std::string_view bytes) {
  for (ssize_t n; !bytes.empty(); bytes.remove_prefix(static_cast<size_t>(n))) {
    n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    REQUIRE(n > 0);
  }
}

std::string contents_of(const Range& range) {
  std::string bytes;
  for (uint64_t i = 0; i < range.pages; ++i)
    for (uint64_t w = 0; w < 512; ++w) {
      const uint64_t word = stored_word(range.address / kPageSize + i, w);
      bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
    }
  return bytes;
}

}  // namespace

ScriptedServer::ScriptedServer() {
  auto made = pageserver::listen_on("127.0.0.1", 0);
  REQUIRE(made);
  listener_ = std::move(*made);
}

RemoteOptions ScriptedServer::options() const {
  RemoteOptions options;
  options.connect = [port = listener_.port]() -> Result<std::unique_ptr<pageserver::Stream>> {
    return pageserver::plain_stream(TRY(pageserver::connect_to("127.0.0.1", port, kPatienceMs)));
  };
  options.name = "of the test";
  return options;
}

void ScriptedServer::accept(bool criu) {
  hang_up();
  in_.clear();
  pollfd p = {listener_.socket.get(), POLLIN, 0};
  REQUIRE(::poll(&p, 1, kPatienceMs) == 1);
  socket_ = UniqueFd(::accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(socket_);
  criu_ = criu;
  (void)take(sizeof(CriuHeader));
  send_all(socket_.get(), criu ? std::string_view("\0\0\0\0", 4) : pageserver::kHelloAnswer);
  if (criu) return;
  REQUIRE(frame().header.type == FrameType::kOpen);
  std::string ready;
  pageserver::append_frame(ready, FrameType::kReady, pageserver::kLast, 0, encode(pageserver::Ready{}));
  send_all(socket_.get(), ready);
}

// False at the end of the connection.
bool ScriptedServer::fill(size_t size) {
  while (in_.size() < size) {
    pollfd p = {socket_.get(), POLLIN, 0};
    REQUIRE(::poll(&p, 1, kPatienceMs) == 1);
    char buffer[4096];
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    in_.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

std::string ScriptedServer::take(size_t size) {
  REQUIRE(fill(size));
  std::string bytes = in_.substr(0, size);
  in_.erase(0, size);
  return bytes;
}

pageserver::Frame ScriptedServer::frame() {
  FrameHeader header;
  REQUIRE(fill(sizeof header));
  std::memcpy(&header, in_.data(), sizeof header);
  frame_ = take(sizeof header + header.length);
  const auto frame = pageserver::next_frame(std::as_bytes(std::span(frame_)));
  REQUIRE(frame);
  return **frame;
}

ScriptedServer::Read ScriptedServer::read(bool answer_pings) {
  if (criu_) {
    CriuHeader get;
    const std::string bytes = take(sizeof get);
    std::memcpy(&get, bytes.data(), sizeof get);
    REQUIRE(get.command == pageserver::kCriuGet);
    return {0, false, {{pageserver::object_id(get.object, pageserver::kTaskMemory), get.vaddr, get.pages}}};
  }
  for (;;) {
    const pageserver::Frame next = frame();
    if (next.header.type == FrameType::kPing) {
      std::string pong;
      pageserver::append_frame(pong, FrameType::kPong, pageserver::kLast, next.header.id, "");
      if (answer_pings) send_all(socket_.get(), pong);
      continue;
    }
    REQUIRE(next.header.type == FrameType::kRead);
    auto ranges = pageserver::decode_ranges(next.payload);
    REQUIRE(ranges);
    return {next.header.id, (next.header.flags & pageserver::kUrgent) != 0, std::move(*ranges)};
  }
}

bool ScriptedServer::left_within(std::chrono::milliseconds time) {
  pollfd either[] = {{listener_.socket.get(), POLLIN, 0}, {socket_.get(), POLLRDHUP, 0}};
  return ::poll(either, 2, static_cast<int>(time.count())) > 0;
}

void ScriptedServer::send(const Read& read, bool last) {
  std::string bytes;
  for (const Range& range : read.ranges) {
    if (criu_) {
      const CriuHeader header = {.command = pageserver::criu_command(pageserver::kCriuAddFlags, 4), .pages = range.pages, .vaddr = range.address,
                                 .object = pageserver::id_of(range.object)};
      bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
      bytes += contents_of(range);
      continue;
    }
    for (uint64_t at = 0; at < range.pages; at += pageserver::kMaxRunPages) {
      const Range part = {range.object, range.address + at * kPageSize, std::min(range.pages - at, pageserver::kMaxRunPages)};
      const pageserver::RunHeader run = {.object = part.object, .address = part.address, .pages = part.pages};
      const bool ends = last && &range == &read.ranges.back() && part.end() == range.end();
      pageserver::append_frame(bytes, FrameType::kPages, ends ? pageserver::kLast : uint16_t{0}, read.id,
                               std::string(reinterpret_cast<const char*>(&run), sizeof run) + contents_of(part));
    }
  }
  send_all(socket_.get(), bytes);
}

void ScriptedServer::fail(const Read& read, int code, const std::string& what) {
  std::string bytes;
  pageserver::append_frame(bytes, FrameType::kFailed, pageserver::kLast, read.id, encode(pageserver::Failed{code, what}));
  send_all(socket_.get(), bytes);
}

}  // namespace faultline::lazy::test
