#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "core/dump/page_store.h"
#include "core/image/checkpoint.h"
#include "pageserver/listing.h"

namespace faultline::dump {

namespace {

using pageserver::CriuHeader;

// For so long the server may take nothing from us.
constexpr int kPatienceMs = 60'000;

// Pieces of messages are sent in full packets while this is on, and at once when it is turned off. Not every stream is a TCP socket.
void cork(int socket, int on) { (void)::setsockopt(socket, IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

// The answers to OPEN2 are read at the end, together: we send the same whatever they are, and would only wait, with the tree standing still.
class ServerStore final : public PageStore {
 public:
  ServerStore(const PageServer& server, const image::ImageDir& dir, Written written)
      : server_(server), stream_(*server.stream), dir_(dir), written_(std::move(written)), buffer_(kStoreChunk) {
    pageserver::watch_peer(stream_.fd());
    cork(stream_.fd(), 1);
  }

  Result<void> begin(pageserver::ObjectId object) override {
    // One that an earlier dump has left must not be taken for this one's. (The server's, made after this, may be in the same directory.)
    TRY(dir_.remove(pageserver::pagemap_name(object)));
    object_ = object;
    ++opened_;
    return command(pageserver::kCriuOpen2);
  }

  Result<void> put(std::span<const PageRun> runs, const MemoryReader& memory) override {
    for (const PageRun& run : runs) {
      TRY(command(pageserver::criu_command(pageserver::kCriuAddFlags, run.flags), run.start, run.pages));
      if (run.flags & image::kPagePresent) TRY(contents(run, memory));
    }
    return {};
  }

  Result<void> end() override { return {}; }

  Result<void> finish() override {
    object_ = 0;
    TRY(command(server_.inherited ? pageserver::kCriuForceClose : pageserver::kCriuClose));
    cork(stream_.fd(), 0);
    std::vector<std::byte> parents(opened_);
    TRY(receive(parents));
    int32_t status = 0;
    TRY(receive(std::as_writable_bytes(std::span(&status, 1))));
    if (status != 0) return error(EIO, "the page server could not store the memory (status {}); its log says why", status);
    stream_.shutdown();
    return {};
  }

 private:
  Result<void> command(uint32_t command, Vaddr vaddr = 0, uint64_t pages = 0) {
    const CriuHeader header = {.command = command, .pages = pages, .vaddr = vaddr, .object = object_};
    return send(std::as_bytes(std::span(&header, 1)));
  }

  // Header and pages go in writes of their own, those of pages beginning at multiples of 64 KiB: a CRIU that receives through TLS relies on it.
  Result<void> contents(const PageRun& run, const MemoryReader& memory) {
    for (Vaddr at = run.start; at < run.end();) {
      const std::span<std::byte> chunk(buffer_.data(), std::min<uint64_t>(run.end() - at, buffer_.size()));
      TRY(memory.read(at, chunk));
      TRY(send(chunk));
      TRY(written_(chunk.size()));
      at += chunk.size();
    }
    return {};
  }

  Result<void> send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const iovec piece = {const_cast<std::byte*>(bytes.data()), bytes.size()};
      auto sent = stream_.write({&piece, 1});
      if (!sent) return wrap(sent.error(), "the page server has gone");
      bytes = bytes.subspan(*sent);
      if (*sent == 0) TRY(wait(stream_.wanted_by_write(), kPatienceMs));
    }
    return {};
  }

  Result<void> receive(std::span<std::byte> to) {
    while (!to.empty()) {
      auto got = stream_.read(to);
      if (!got) return wrap(got.error(), "the page server has gone without saying that it has stored the memory");
      to = to.subspan(*got);
      if (*got == 0) TRY(wait(stream_.wanted_by_read(), -1));
    }
    return {};
  }

  Result<void> wait(short events, int timeout) {
    pollfd either[] = {{stream_.fd(), events, 0}, {server_.stop, POLLIN, 0}};  // poll(2) passes over a descriptor of -1
    int ready;
    while ((ready = ::poll(either, 2, timeout)) < 0 && errno == EINTR) {}
    if (ready < 0) return sys_error("poll");
    if (ready == 0) return error(ETIMEDOUT, "the page server has taken nothing for {} s", timeout / 1000);
    if (either[1].revents) TRY(written_(0));  // says why we are to stop
    return {};
  }

  const PageServer server_;
  pageserver::Stream& stream_;
  const image::ImageDir& dir_;
  const Written written_;
  std::vector<std::byte> buffer_;
  pageserver::ObjectId object_ = 0;
  size_t opened_ = 0;
};

}  // namespace

std::unique_ptr<PageStore> server_store(const PageServer& server, const image::ImageDir& dir, Written written) {
  return std::make_unique<ServerStore>(server, dir, std::move(written));
}

}  // namespace faultline::dump
