#include "pageserver/receiver.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/base/log.h"
#include "core/image/checkpoint.h"
#include "pageserver/stored_source.h"

namespace faultline::pageserver {

namespace {

constexpr uint64_t kUserEnd = uint64_t{1} << 47;
constexpr uint64_t kIdEnd = uint64_t{1} << 40;  // above all pids, and all numbers of shared memory that a file name is made of
constexpr size_t kMaxObjects = 1 << 20;
constexpr size_t kBuffer = 256 << 10;

template <typename T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

Receiver::~Receiver() {
  if (closed_) return;
  for (const std::string& name : made_)
    if (auto done = dir_.remove(name); !done) LOG_WARNING("page server: {}", done.error().what);
}

Result<void> Receiver::take(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (closed_) return error(EBADMSG, "more came after CLOSE");
    if (data_left_ > 0) {
      const size_t n = std::min<uint64_t>(bytes.size(), data_left_);
      TRY(write_all(object_->pages.get(), bytes.data(), n, object_->pages_name.c_str()));
      data_left_ -= n;
      bytes = bytes.subspan(n);
      continue;
    }
    const size_t n = std::min(bytes.size(), sizeof(CriuHeader) - head_.size());
    head_.append(reinterpret_cast<const char*>(bytes.data()), n);
    bytes = bytes.subspan(n);
    if (head_.size() < sizeof(CriuHeader)) return {};
    CriuHeader header;
    std::memcpy(&header, head_.data(), sizeof header);
    head_.clear();
    TRY(command(header));
  }
  return {};
}

Result<void> Receiver::command(const CriuHeader& header) {
  if (header.command == kCriuClose || header.command == kCriuForceClose) return close();
  switch (header.command & 0xffff) {
    case kCriuAdd: return add(header, image::kPagePresent);
    case kCriuHole: return add(header, image::kPageParent);
    case kCriuAddFlags: return add(header, header.command >> 16);
    case kCriuOpen: return open(TRY(object_of(header)));
    case kCriuOpen2:
      TRY(open(TRY(object_of(header))));
      put(answers_, static_cast<uint8_t>(object_->parent.has_value()));
      return {};
    case kCriuParent: {
      // Also the hello of Faultline's own protocol, which this is not: its object does not exist, and the answer is 0.
      const auto object = modern_object(header.object);
      const auto parent = dir_.open_parent();
      put(answers_, static_cast<int32_t>(object && parent && parent->exists(pagemap_name(*object))));
      return {};
    }
    case kCriuGet: return error(EBADMSG, "pages are asked for, but this page server takes pages in; to serve them, start it with --lazy-pages");
    default: return error(EBADMSG, "the command {:#x} is not known", header.command);
  }
}

Result<ObjectId> Receiver::object_of(const CriuHeader& header) const {
  const auto object = modern_object(header.object);
  if (!object || id_of(*object) == 0 || id_of(*object) >= kIdEnd) return error(EBADMSG, "the object {:#x} cannot be", header.object);
  return *object;
}

Result<std::optional<image::PageIndex>> Receiver::parent_of(const std::string& pagemap) const {
  auto parent = dir_.open_parent();
  if (!parent && parent.error().code == ENOENT) return std::nullopt;
  if (!parent) return Failure(parent.error());
  if (!parent->exists(pagemap)) return std::nullopt;
  // Only whether a page is there matters, not in which file.
  return TRY(image::load_page_index(*parent, pagemap, [](UniqueFd, const std::string&) -> Result<uint32_t> { return 0; }));
}

Result<void> Receiver::open(ObjectId object) {
  TRY(end_object());
  const std::string name = pagemap_name(object);
  if (seen_.size() == kMaxObjects || !seen_.insert(object).second) return error(EBADMSG, "{} comes a second time", name);
  // Whatever was here is no checkpoint any more. (A dump into the same directory writes its inventory after our answer to CLOSE.)
  if (seen_.size() == 1)
    for (const char* whole : {image::kInventoryFile, image::kMemoryReceivedFile}) TRY(dir_.remove(whole));
  auto parent = TRY(parent_of(name));
  const uint32_t id = next_pages_++;
  const std::string pages_name = fmt::format("pages-{}.img", id);
  auto writer = TRY(image::Writer::create(dir_, name, image::kPagemap));
  made_.push_back(name);
  TRY(writer.put(image::PagemapHead{.pages_id = id}));
  TRY(dir_.remove(pages_name));  // of an earlier dump: somebody may be reading it
  UniqueFd pages = TRY(dir_.open_file(pages_name, O_WRONLY | O_CREAT | O_EXCL));
  made_.push_back(pages_name);
  object_.emplace(object, name, std::move(writer), std::move(pages), pages_name, std::move(parent));
  return {};
}

Result<void> Receiver::end_object() {
  if (!object_) return {};
  TRY(object_->pagemap.close());
  // On their way to the disk while the next object comes.
  dir_.begin_sync(object_->name);
  dir_.begin_sync(object_->pages_name);
  object_.reset();
  return {};
}

Result<void> Receiver::add(const CriuHeader& header, uint32_t flags) {
  const ObjectId object = TRY(object_of(header));
  if (!object_ || object_->id != object) {
    LOG_WARNING("page server: pages of {} come without OPEN", pagemap_name(object));
    TRY(open(object));
  }
  const uint32_t known = image::kPageParent | image::kPageLazy | image::kPagePresent;
  const bool present = flags & image::kPagePresent, hole = flags & image::kPageParent;
  if (flags == 0 || (flags & ~known) || (present && hole)) return error(EBADMSG, "pages with the flags {:#x} cannot be", flags);
  if (header.pages == 0 || header.vaddr % kPageSize != 0 || header.vaddr < object_->end || header.vaddr >= kUserEnd || header.pages > (kUserEnd - header.vaddr) / kPageSize)
    return error(EBADMSG, "{}: {} pages at {:#x} are out of order, not aligned, or too many", object_->name, header.pages, header.vaddr);
  object_->end = header.vaddr + header.pages * kPageSize;
  if (hole) TRY(check_hole(header.vaddr, object_->end));
  image::PagemapEntry entry;
  entry.vaddr = header.vaddr;
  entry.nr_pages = header.pages;
  entry.flags = flags;
  TRY(object_->pagemap.put(entry));
  if (present) data_left_ = header.pages * kPageSize, pages_ += header.pages;
  return {};
}

Result<void> Receiver::check_hole(uint64_t start, uint64_t end) const {
  uint64_t at = start;
  if (object_->parent)
    for (const image::Extent& extent : object_->parent->overlapping(start, end)) {
      if (extent.vaddr > at) break;
      at = extent.end();
    }
  if (at < end) return error(EBADMSG, "{}: the page at {:#x} should be in the parent checkpoint, which does not have it", object_->name, at);
  return {};
}

Result<void> Receiver::sync_directory() const {
  if (::fsync(dir_.fd()) < 0) return sys_error("{} cannot be brought to stable storage", dir_.name());
  return {};
}

Result<void> Receiver::close() {
  TRY(end_object());
  for (const std::string& name : made_) {
    const UniqueFd file = TRY(dir_.open_file(name, O_RDONLY | O_NOFOLLOW));
    if (::fsync(file.get()) < 0) return sys_error("{}/{} cannot be brought to stable storage", dir_.name(), name);
  }
  TRY(sync_directory());
  // Only now, so that it never outlives, after a loss of power, what it speaks of.
  TRY(dir_.remove(image::kMemoryReceivedFile));
  {
    const UniqueFd mark = TRY(dir_.open_file(image::kMemoryReceivedFile, O_WRONLY | O_CREAT | O_EXCL));
    made_.emplace_back(image::kMemoryReceivedFile);
    const std::string text = fmt::format("{} pages of {} objects\n", pages_, seen_.size());
    TRY(write_all(mark.get(), text.data(), text.size(), image::kMemoryReceivedFile));
    if (::fsync(mark.get()) < 0) return sys_error("{}/{} cannot be brought to stable storage", dir_.name(), image::kMemoryReceivedFile);
  }
  TRY(sync_directory());
  closed_ = true;
  put(answers_, int32_t{0});
  return {};
}

namespace {

Result<void> wait_for(const Stream& stream, short events, int cancel_fd) {
  for (;;) {
    pollfd fds[] = {{stream.fd(), events, 0}, {cancel_fd, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return sys_error("cannot wait for the dump");
    }
    if (fds[1].revents) return error(ECANCELED, "interrupted");
    return {};
  }
}

Result<void> send_answers(Stream& stream, std::string_view answers, int cancel_fd) {
  while (!answers.empty()) {
    const iovec piece = {const_cast<char*>(answers.data()), answers.size()};
    const size_t n = TRY(stream.write({&piece, 1}));
    answers.remove_prefix(n);
    if (n == 0) TRY(wait_for(stream, stream.wanted_by_write(), cancel_fd));
  }
  return {};
}

}  // namespace

Result<void> receive_pages(Stream& stream, Receiver& receiver, int cancel_fd, bool until_end) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kBuffer);
  while (!receiver.closed() || until_end) {
    auto n = stream.read({buffer.get(), kBuffer});
    if (!n && receiver.closed()) return {};  // the end, in whichever way
    if (!n && n.error().code == ENODATA) return error(ENODATA, "the connection ended without CLOSE: the dump has failed, and nothing of it is kept");
    if (!n) return Failure(n.error());
    if (*n == 0) {
      TRY(wait_for(stream, stream.wanted_by_read(), cancel_fd));
      continue;
    }
    TRY(receiver.take({buffer.get(), *n}));
    TRY(send_answers(stream, receiver.take_answers(), cancel_fd));
  }
  return {};
}

}  // namespace faultline::pageserver
