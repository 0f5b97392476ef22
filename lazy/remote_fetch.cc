#include "lazy/remote_fetch.h"

#include <algorithm>

namespace faultline::lazy {

namespace {

constexpr uint64_t kUnderWay = 4096;  // pages: fills the way to the server without filling the memory
constexpr uint64_t kRangePages = 1024;

}  // namespace

void RemoteFetch::want(pageserver::ObjectId object, uint64_t address, uint64_t pages) {
  for (; pages != 0; pages -= std::min(pages, kRangePages), address += kRangePages * kPageSize)
    wanted_.push_back({object, address, std::min(pages, kRangePages)});
}

void RemoteFetch::ask() {
  while (asked_ < wanted_.size() && under_way_ < kUnderWay) {
    std::vector<pageserver::Range> ranges;
    uint64_t pages = 0;
    for (; asked_ < wanted_.size() && ranges.size() < pageserver::kMaxRanges && under_way_ + pages < kUnderWay; ++asked_) {
      ranges.push_back(wanted_[asked_]);
      pages += wanted_[asked_].pages;
    }
    remote_.first->read(ranges, purpose_ == For::kFirstInstruction);
    under_way_ += pages;
  }
}

Result<void> RemoteFetch::finish() {
  Result<void> outcome;
  pageserver::ClientEvents events;
  events.pages = [&](const pageserver::Range& range, std::span<const std::byte> contents) {
    if (outcome) outcome = sink_(range, contents);
    under_way_ -= std::min(under_way_, range.pages);
    ask();
  };
  events.failed = [&](uint64_t, const pageserver::Failed& failed) { outcome = error(failed.code, "{}", failed.what); };
  ask();
  const auto waited = remote_.first->wait(remote_.page_timeout, events, [&] { return !outcome || (asked_ == wanted_.size() && under_way_ == 0); });
  if (!outcome) return wrap(outcome.error(), "the page server {}", remote_.name);
  if (!waited) return wrap(waited.error(), "the page server {}", remote_.name);
  return {};
}

}  // namespace faultline::lazy
