#include "pageserver/session.h"

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/image/present.h"

namespace faultline::pageserver {

namespace {

// What waits at most before no more is read from the client. Together they bound the memory of a session; see PROTOCOL.md, section 4.
constexpr size_t kMaxRequests = 1024, kMaxWaitingRanges = 8192;
constexpr uint64_t kMaxWaitingPages = (uint64_t{1} << 30) / kPageSize;
// No client has a longer message: READ with all its ranges.
constexpr size_t kMaxInput = sizeof(FrameHeader) + kMaxRanges * 24;
constexpr uint64_t kUserEnd = uint64_t{1} << 47;
constexpr uint64_t kPidEnd = uint64_t{1} << 31;

std::string string_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

Session::Session(Sources& sources, Counters& counters, SessionOptions options)
    : sources_(sources), counters_(counters), options_(std::move(options)) {
  ++counters_.sessions;
}

void Session::leave() {
  if (const auto source = std::exchange(source_, nullptr)) source->closed(client_);
}

Session::~Session() {
  leave();
  --counters_.sessions;
  counters_.queued -= urgent_.size() + bulk_.size();
}

bool Session::wants_input() const {
  // One listing at a time: each may be long.
  return !over_ && !listing_ && urgent_.size() + bulk_.size() < kMaxRequests && ranges_ < kMaxWaitingRanges && pages_ < kMaxWaitingPages;
}

Result<void> Session::take(std::span<const std::byte> bytes) {
  input_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return parse();
}

Result<void> Session::parse() {
  size_t at = 0;
  while (wants_input()) {
    const auto rest = std::as_bytes(std::span(input_)).subspan(at);
    if (state_ != State::kFrames) {
      CriuHeader header;
      if (rest.size() < sizeof header) break;
      std::memcpy(&header, rest.data(), sizeof header);
      TRY(parse_criu(header));
      at += sizeof header;
      continue;
    }
    FrameHeader header;
    if (rest.size() < sizeof header) break;
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.length > kMaxInput - sizeof header) return error(E2BIG, "a message of {} bytes is longer than any request", header.length);
    const auto frame = TRY(next_frame(rest));
    if (!frame) break;
    TRY(parse_frame(*frame));
    at += frame->size();
  }
  input_.erase(0, over_ ? input_.size() : at);
  return {};
}

Result<void> Session::parse_criu(const CriuHeader& header) {
  if (state_ == State::kHello) {
    if (const auto version = is_hello(header)) {
      if (*version == 0) return error(EPROTO, "the client speaks version 0, which does not exist");
      state_ = State::kFrames;
      reply({}, 0, std::string(kHelloAnswer));
      return {};
    }
    state_ = State::kCriu;
  }
  const int32_t zero = 0;
  switch (header.command) {
    case kCriuGet: break;
    case kCriuParent: reply({}, 0, bytes_of(zero)); return {};
    case kCriuClose:
    case kCriuForceClose:
      if (source_) TRY(source_->done(client_));
      reply({}, 0, bytes_of(zero));
      over_ = true;
      return {};
    default: return error(EBADMSG, "the command {:#x} is none that asks for pages; to send pages, start the page server without --lazy-pages", header.command);
  }
  if (header.object == 0 || header.object >= kPidEnd || header.vaddr % kPageSize != 0 || header.vaddr >= kUserEnd || header.pages == 0)
    return error(EBADMSG, "{} pages at {:#x} of process {} cannot be", header.pages, header.vaddr, header.object);
  TRY(begin_criu({object_id(header.object, kTaskMemory), header.vaddr, 1}));
  const uint64_t pages = std::min({header.pages, kMaxReadPages, (kUserEnd - header.vaddr) / kPageSize});
  Request& request = push(bulk_, Request::Kind::kGet, 0);
  request.owner.demand = pages == 1;
  request.ranges.push_back({object_id(header.object, kTaskMemory), header.vaddr, pages});
  urgent_gets_ += request.owner.demand;
  ++ranges_;
  pages_ += pages;
  ++(request.owner.demand ? counters_.requests_demand : counters_.requests_bulk);
  return {};
}

// The first GET of a client of CRIU's is its COMMIT, so that it must ask for a page that exists.
Result<void> Session::begin_criu(const Range& first) {
  if (source_) return {};
  auto source = sources_.find("");
  if (!source) return wrap(source.error(), "a client that speaks CRIU's protocol can only have the checkpoint in the served directory itself");
  TRY((*source)->locate(first));
  TRY((*source)->opened(client_));
  source_ = std::move(*source);
  return source_->commit(client_);
}

Result<void> Session::need_source() {
  if (!source_) return error(EBADMSG, "a request came before OPEN");
  return {};
}

Result<void> Session::parse_frame(const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::kOpen: return parse_open(frame);
    case FrameType::kRead: return parse_read(frame);
    case FrameType::kFile: return parse_named(frame);
    case FrameType::kNames:
    case FrameType::kFiles:
    case FrameType::kPing:
    case FrameType::kCommit:
    case FrameType::kDone:
    case FrameType::kRevoked: return parse_simple(frame);
    default: return error(EBADMSG, "a message of type {:#x} is not one that a client sends", static_cast<unsigned>(frame.header.type));
  }
}

Encoding Session::choose(uint32_t offered) const {
  const bool lz4 = offered & kOfferLz4, zstd = offered & kOfferZstd;
  switch (options_.compress) {
    case Compress::kAuto: return lz4 && !options_.near ? Encoding::kLz4 : Encoding::kRaw;
    case Compress::kLz4: return lz4 ? Encoding::kLz4 : Encoding::kRaw;
    case Compress::kZstd: return zstd ? Encoding::kZstd : Encoding::kRaw;
    case Compress::kNone: break;
  }
  return Encoding::kRaw;
}

Result<void> Session::parse_open(const Frame& frame) {
  if (source_) return error(EBADMSG, "OPEN came twice");
  const Open open = TRY(decode_open(frame.payload));
  if (open.version == 0 || open.page_size != kPageSize) {
    fail(frame.header.id, Error{EPROTO, fmt::format("this server speaks version {} with pages of {} bytes", kVersion, kPageSize)});
    return {};
  }
  auto source = sources_.find(open.name);
  if (!source) {
    ++counters_.requests_failed;
    LOG_WARNING("page server: {} asked for the checkpoint \"{}\": {}", peer(), image::printable(open.name).substr(0, 200), source.error().what);
    fail(frame.header.id, source.error());
    over_ = true;
    return {};
  }
  const bool nameless = open.client == 0 && (*source)->kind() == SourceKind::kLive;
  auto opened = nameless ? error(EBUSY, "this is a frozen program, which is given to a restore and to nobody else; dump it into a directory to look at it") : (*source)->opened(open.client);
  if (!opened) {
    LOG_WARNING("page server: {} is refused: {}", peer(), opened.error().what);
    fail(frame.header.id, opened.error());
    over_ = true;
    return {};
  }
  source_ = std::move(*source);
  name_ = open.name;
  client_ = open.client;
  packing_ = choose(open.compressions);
  LOG_INFO("page server: {} has opened the checkpoint \"{}\"", peer(), image::printable(name_));
  reply(FrameType::kReady, frame.header.id, encode(Ready{.compressed = packing_, .kind = source_->kind()}));
  if (source_->is_revoking()) revoke();
  return {};
}

Result<void> Session::parse_read(const Frame& frame) {
  TRY(need_source());
  std::vector<Range> ranges = TRY(decode_ranges(frame.payload));
  const bool urgent = frame.header.flags & kUrgent;
  Request& request = push(urgent ? urgent_ : bulk_, Request::Kind::kRead, frame.header.id);
  request.owner.demand = urgent;
  request.ranges = std::move(ranges);
  ranges_ += request.ranges.size();
  for (const Range& range : request.ranges) pages_ += range.pages;
  ++(urgent ? counters_.requests_demand : counters_.requests_bulk);
  return {};
}

Result<void> Session::parse_named(const Frame& frame) {
  TRY(need_source());
  const std::string name = string_of(frame.payload);
  if (!valid_name(name)) return error(EBADMSG, "the name of an image must stay in its checkpoint");
  Asker asker = {FrameType::kFile, frame.header.id, name};
  if (source_->listed()) put_file(std::move(asker));
  else send_for(std::move(asker), [source = source_] { return source->list_files(); });
  return {};
}

// Opened when its turn comes: descriptors are not to be had for the asking.
void Session::put_file(Asker asker) { push(bulk_, Request::Kind::kFile, asker.id).name = std::move(asker.name); }

void Session::send_for(Asker asker, Errand errand) {
  asker_ = std::move(asker);
  errand_ = std::move(errand);
  listing_ = true;
}

void Session::errand_done(Text text) {
  Asker asker = std::move(*asker_);
  asker_.reset();
  listing_ = asker.type != FrameType::kFile;
  if (!listing_) return put_file(std::move(asker));  // had the listing failed, opening says why
  if (text && (*text)->size() > kMaxPayload) text = error(E2BIG, "the list of images is longer than a message can be");
  if (text) reply(FrameType::kText, asker.id, std::move(*text));
  else fail(asker.id, text.error());
  urgent_.back().listing = true;
}

Result<void> Session::parse_simple(const Frame& frame) {
  const uint64_t id = frame.header.id;
  if (!frame.payload.empty()) return error(EBADMSG, "a message of type {:#x} must be empty", static_cast<unsigned>(frame.header.type));
  if (frame.header.type == FrameType::kPing) {
    reply(FrameType::kPong, id, std::string());
    return {};
  }
  if (frame.header.type == FrameType::kNames) {
    send_for({FrameType::kNames, id, {}}, [&sources = sources_]() -> Text { return std::make_shared<const std::string>(TRY(sources.names())); });
    return {};
  }
  TRY(need_source());
  if (frame.header.type == FrameType::kFiles) {
    send_for({FrameType::kFiles, id, {}}, [source = source_] { return source->list_files(); });
    return {};
  }
  if (frame.header.type == FrameType::kCommit) answer(FrameType::kCommitted, id, source_->commit(client_));
  else if (frame.header.type == FrameType::kDone) answer(FrameType::kBye, id, source_->done(client_));
  else source_->revoked(client_);
  return {};
}

void Session::revoke() {
  if (source_ && state_ == State::kFrames) reply(FrameType::kRevoke, 0, std::string());
}

Session::Request& Session::push(Queue& queue, Request::Kind kind, uint64_t id) {
  queue.push_back({.kind = kind, .owner = {.serial = ++serial_, .id = id}, .ranges = {}, .name = {}, .file = {}});
  ++counters_.queued;
  return queue.back();
}

void Session::reply(FrameType type, uint64_t id, std::shared_ptr<const std::string> payload) {
  Request& request = push(state_ == State::kCriu ? bulk_ : urgent_, Request::Kind::kReply, id);
  request.type = type;
  request.file.text = std::move(payload);
}

void Session::reply(FrameType type, uint64_t id, std::string payload) { reply(type, id, std::make_shared<const std::string>(std::move(payload))); }

void Session::fail(uint64_t id, const Error& e) {
  ++counters_.requests_failed;
  reply(FrameType::kFailed, id, encode(Failed{e.code, e.what}));
}

void Session::answer(FrameType type, uint64_t id, const Result<void>& outcome) {
  if (outcome) reply(type, id, std::string());
  else fail(id, outcome.error());
}

void Session::pop(Queue& queue) {
  const Request& request = queue.front();
  urgent_gets_ -= request.kind == Request::Kind::kGet && request.owner.demand;
  ranges_ -= request.ranges.size() - std::min(request.next, request.ranges.size());
  for (size_t i = request.next; i < request.ranges.size(); ++i) pages_ -= request.ranges[i].pages;
  if (request.listing) listing_ = false;
  --counters_.queued;
  queue.pop_front();
}

void Session::forget(Queue& queue, uint64_t serial) {
  if (!queue.empty() && queue.front().owner.serial == serial) pop(queue);
}

}  // namespace faultline::pageserver
