#include "browse/server_images.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <set>

#include "browse/private_dir.h"
#include "pageserver/listing.h"

namespace faultline::browse {

namespace {

using pageserver::Client;

constexpr unsigned kMaxConnections = 4;

bool is_pages(std::string_view name) { return name.starts_with("pages-"); }

// Connections to one checkpoint of a server, made when they are needed. Safe from any thread.
class Connections {
 public:
  explicit Connections(ServerOptions options) : options_(std::move(options)) {}

  const ServerOptions& options() const { return options_; }

  // Does `work` over a connection; once more over a fresh one if that one was lost. `work` must stand being done twice.
  Result<void> with(const std::function<Result<void>(Client&)>& work) {
    auto done = once(work);
    // What the server says is final; what the connection says is not.
    const bool lost = !done && (done.error().code == ENODATA || done.error().code == ECONNRESET || done.error().code == EPIPE || done.error().code == ETIMEDOUT);
    return lost ? once(work) : std::move(done);
  }

 private:
  Result<void> once(const std::function<Result<void>(Client&)>& work) {
    std::unique_ptr<Client> client = TRY(take());
    auto done = work(*client);
    // A connection on which something went wrong may still have answers on the way.
    give_back(done ? std::move(client) : nullptr);
    return done;
  }

  Result<std::unique_ptr<Client>> take() {
    {
      std::unique_lock lock(mutex_);
      freed_.wait(lock, [&] { return !idle_.empty() || used_ < kMaxConnections; });
      ++used_;
      if (!idle_.empty()) {
        auto client = std::move(idle_.back());
        idle_.pop_back();
        return client;
      }
    }
    auto made = connect();
    if (!made) give_back(nullptr);
    return made;
  }

  void give_back(std::unique_ptr<Client> client) {
    {
      std::lock_guard lock(mutex_);
      --used_;
      if (client) idle_.push_back(std::move(client));
    }
    freed_.notify_one();
  }

  Result<std::unique_ptr<Client>> connect() {
    // Number 0: somebody who only looks.
    auto client = std::make_unique<Client>(
        TRY(Client::start(TRY(options_.connect()), {.checkpoint = options_.checkpoint, .client = 0, .compressions = options_.compressions})));
    TRY(client->wait_ready(options_.timeout));
    if (client->speaks_criu()) return error(ENOTSUP, "the page server speaks CRIU's protocol only, which tells nothing but pages");
    return client;
  }

  const ServerOptions options_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable freed_;
  unsigned used_ = 0;
  std::vector<std::unique_ptr<Client>> idle_;
};

class PagesAtServer : public StoredPages {
 public:
  PagesAtServer(image::PageIndex index, std::string damage, pageserver::ObjectId object, std::shared_ptr<Connections> connections)
      : StoredPages(std::move(index), std::move(damage)), object_(object), connections_(std::move(connections)) {}

  std::optional<Place> place(const image::Extent&) const override { return std::nullopt; }

  Result<void> read(const image::Extent& extent, Vaddr at, std::span<std::byte> to) const override {
    if (extent.lost()) return error(EIO, "the page at {:#x} is not known to the page server: {}", page_down(at), damage());
    while (!to.empty()) {
      const uint64_t pages = std::min<uint64_t>((page_up(at + to.size()) - page_down(at)) / kPageSize, pageserver::kMaxReadPages);
      const size_t size = std::min<uint64_t>(to.size(), page_down(at) + pages * kPageSize - at);
      TRY(read_pages({object_, page_down(at), pages}, at, to.first(size)));
      at += size;
      to = to.subspan(size);
    }
    return {};
  }

 private:
  Result<void> read_pages(const pageserver::Range& range, Vaddr at, std::span<std::byte> to) const {
    return connections_->with([&](Client& client) -> Result<void> {
      uint64_t come = 0;
      std::optional<Error> failed;
      const pageserver::ClientEvents events = {
          .pages = [&](const pageserver::Range& run, std::span<const std::byte> contents) {
            if (run.object != range.object || run.address != range.address + come * kPageSize || run.pages > range.pages - come) {
              failed = Error{EIO, "the page server sends pages that were not asked for"};
              return;
            }
            come += run.pages;
            const Vaddr from = std::max(run.address, at), end = std::min(run.end(), at + to.size());
            if (from >= end) return;
            if (contents.empty()) std::memset(to.data() + (from - at), 0, end - from);
            else std::memcpy(to.data() + (from - at), contents.data() + (from - run.address), end - from);
          },
          .failed = [&](uint64_t, const pageserver::Failed& why) { failed = Error{EIO, fmt::format("the page server says: {}", why.what)}; },
          .revoked = {}};
      client.read({&range, 1}, true);
      TRY(client.wait(connections_->options().timeout, events, [&] { return come == range.pages || failed; }));
      if (failed) return Failure(*failed);
      return {};
    });
  }

  const pageserver::ObjectId object_;
  const std::shared_ptr<Connections> connections_;
};

class ImagesAtServer : public Images {
 public:
  ImagesAtServer(std::shared_ptr<Connections> connections, PrivateDir dir, std::vector<File> files)
      : connections_(std::move(connections)), dir_(std::move(dir)), files_(std::move(files)) {}

  const std::string& name() const override { return connections_->options().name; }
  const std::vector<File>& files() const override { return files_; }

  Result<const image::ImageDir*> with(const std::string& name) override {
    const File* listed = file(name);
    if (!listed) return &dir_.dir();  // reading it tells that it is missing
    std::lock_guard lock(mutex_);
    if (!fetched_.contains(name)) {
      if (auto done = fetch(*listed); !done) {
        (void)dir_.dir().remove(name);
        return wrap(done.error(), "{}/{}", this->name(), name);
      }
      fetched_.insert(name);
    }
    return &dir_.dir();
  }

  Result<std::shared_ptr<const StoredPages>> memory(const std::string& pagemap) override {
    const auto object = pageserver::object_of_pagemap(pagemap);
    if (!object || !file(pagemap)) return error(ENOENT, "{}/{}: this image is missing", name(), pagemap);
    image::PagemapPart part = image::read_pagemap(*TRY(with(pagemap)), pagemap, false);
    std::vector<image::Extent> extents;
    Vaddr end = 0;
    for (const image::PagemapEntry& entry : part.map.entries) {
      extents.push_back({.vaddr = entry.vaddr, .pages = *entry.nr_pages, .offset = entry.vaddr, .file = image::kRemoteFile});
      end = extents.back().end();
    }
    if (part.damage) extents.push_back({.vaddr = end, .pages = (image::kUserSpaceEnd - end) / kPageSize, .offset = end, .file = image::kLostFile});
    return std::make_shared<const PagesAtServer>(image::PageIndex::adopt(std::move(extents)), part.damage ? part.damage->what : "", *object, connections_);
  }

 private:
  Result<void> fetch(const File& file) {
    return connections_->with([&](Client& client) -> Result<void> {
      const UniqueFd to = TRY(dir_.dir().open_file(file.name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
      uint64_t size = 0;
      TRY(client.get_file(file.name, connections_->options().timeout, [&](std::span<const std::byte> bytes) -> Result<void> {
        size += bytes.size();
        if (size > file.size) return error(EBADMSG, "more bytes come than the {} that were announced", file.size);
        return write_all(to.get(), bytes.data(), bytes.size(), file.name.c_str());
      }));
      if (size != file.size) return error(EBADMSG, "{} bytes came, {} were announced", size, file.size);
      return {};
    });
  }

  const std::shared_ptr<Connections> connections_;
  const PrivateDir dir_;
  const std::vector<File> files_;
  std::mutex mutex_;  // guards what follows
  std::set<std::string> fetched_;
};

}  // namespace

Result<std::unique_ptr<Images>> images_at(ServerOptions options) {
  auto connections = std::make_shared<Connections>(std::move(options));
  const ServerOptions& o = connections->options();
  std::string text;
  auto listed = connections->with([&](Client& client) -> Result<void> {
    text = TRY(client.list_files(o.timeout));
    return {};
  });
  if (!listed) return wrap(listed.error(), "{}", o.name);
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::vector<Images::File> files;
  for (pageserver::Listed& file : TRY(pageserver::parse_listing(text)))
    if (!is_pages(file.name)) files.push_back({std::move(file.name), file.size, now});
  std::ranges::sort(files, {}, &Images::File::name);
  return std::make_unique<ImagesAtServer>(std::move(connections), TRY(PrivateDir::create(o.name)), std::move(files));
}

}  // namespace faultline::browse
