// The second half of a session: requests become chunks.
#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/sys/file_limit.h"
#include "pageserver/session.h"

namespace faultline::pageserver {

Result<void> Session::fill(Chunk& chunk, size_t limit) {
  Queue& queue = urgent_.empty() ? bulk_ : urgent_;
  while (!queue.empty() && chunk.room(limit) > 0) {
    Request& request = queue.front();
    auto done = step(request, chunk, limit);
    if (!done && request.kind == Request::Kind::kGet) return Failure(done.error());
    if (!done) {
      ++counters_.requests_failed;
      // Once for each client: it asks again.
      if (is_passing(done.error().code) && !std::exchange(told_of_shortage_, true))
        LOG_WARNING("page server: {} cannot be answered for the moment: {}{}", peer(), done.error().what, sys::more_files_hint(done.error().code));
      auto text = std::make_shared<const std::string>(encode(Failed{done.error().code, done.error().what}));
      request.owner.last = true;
      const size_t size = text->size();
      chunk.frame(request.owner, FrameType::kFailed, std::move(text), 0, size);
    }
    if (!done || *done) pop(queue);
  }
  return {};
}

Result<void> Session::finish(Chunk& chunk, std::vector<std::byte>& scratch) {
  for (const Chunk::Failure& failure : chunk.finish(packing_, scratch)) {
    ++counters_.requests_failed;
    if (state_ == State::kCriu) return error(failure.code, "pages cannot be read: {}", errno_text(failure.code));
    // A request is filled from the front of its queue: if it is not finished, it is there still.
    forget(urgent_, failure.owner.serial);
    forget(bulk_, failure.owner.serial);
  }
  return {};
}

Result<bool> Session::step(Request& request, Chunk& chunk, size_t limit) {
  switch (request.kind) {
    case Request::Kind::kRead: return step_read(request, chunk, limit);
    case Request::Kind::kGet: return step_get(request, chunk, limit);
    case Request::Kind::kFile: return step_file(request, chunk, limit);
    case Request::Kind::kReply: return step_reply(request, chunk);
  }
  return true;
}

Result<bool> Session::step_read(Request& request, Chunk& chunk, size_t limit) {
  Range& range = request.ranges[request.next];
  const Range wanted = {range.object, range.address, std::min(range.pages, chunk.room(limit) / kPageSize)};
  const Place place = TRY(source_->locate(wanted));
  const bool whole = place.pages == range.pages;
  request.owner.last = whole && request.next + 1 == request.ranges.size();
  TRY(chunk.pages(request.owner, *source_, {range.object, range.address, place.pages}, place));
  range.address += place.pages * kPageSize;
  range.pages -= place.pages;
  pages_ -= place.pages;
  if (whole) ++request.next, --ranges_;
  return request.owner.last;
}

Result<bool> Session::step_get(Request& request, Chunk& chunk, size_t limit) {
  Range& range = request.ranges[0];
  CriuHeader header = {.command = criu_command(kCriuAddFlags, 4), .padding = 0, .pages = 0, .vaddr = range.address, .object = id_of(range.object)};
  if (!request.started) {
    // As many pages are promised as stand together in one file; the client asks again for the rest, as the protocol has it.
    const uint64_t found = TRY(source_->locate(range)).pages;
    pages_ -= range.pages - found;
    range.pages = found;
    header.pages = found;
  }
  const Range wanted = {range.object, range.address, std::min(range.pages, chunk.room(limit) / kPageSize)};
  const Place place = TRY(source_->locate(wanted));
  TRY(chunk.bare_pages(request.owner, *source_, {range.object, range.address, place.pages}, place, request.started ? nullptr : &header));
  request.started = true;
  range.address += place.pages * kPageSize;
  range.pages -= place.pages;
  pages_ -= place.pages;
  return range.pages == 0;
}

Result<bool> Session::step_file(Request& request, Chunk& chunk, size_t limit) {
  if (!request.name.empty()) request.file = TRY(source_->open_file(std::exchange(request.name, {})));
  const ServedFile& file = request.file;
  if (file.text || file.size == 0) {
    const size_t size = std::min(static_cast<size_t>(file.size - request.done), kMaxPayload);
    request.owner.last = request.done + size == file.size;
    static const auto kNothing = std::make_shared<const std::string>();
    chunk.frame(request.owner, FrameType::kBytes, file.text ? file.text : kNothing, request.done, size);
    request.done += size;
    return request.owner.last;
  }
  const uint64_t size = std::min<uint64_t>(file.size - request.done, chunk.room(limit));
  if (!file.pages) {
    request.owner.last = request.done + size == file.size;
    chunk.file(request.owner, file.fd, request.done, size);
    request.done += size;
    return request.owner.last;
  }
  // request.done counts within the range that request.next points to.
  const Range& range = (*file.pages)[request.next];
  const Range wanted = {range.object, range.address + request.done, std::min(size, range.pages * kPageSize - request.done) / kPageSize};
  const Place place = TRY(source_->locate(wanted));
  const bool whole = request.done + place.pages * kPageSize == range.pages * kPageSize;
  request.owner.last = whole && request.next + 1 == file.pages->size();
  TRY(chunk.file_pages(request.owner, *source_, {wanted.object, wanted.address, place.pages}, place));
  request.done = whole ? 0 : request.done + place.pages * kPageSize;
  if (whole) ++request.next;
  return request.owner.last;
}

Result<bool> Session::step_reply(Request& request, Chunk& chunk) {
  request.owner.last = true;
  const size_t size = request.file.text->size();
  chunk.frame(request.owner, request.type, request.file.text, 0, size);
  return true;
}

}  // namespace faultline::pageserver
