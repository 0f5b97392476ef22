#pragma once

#include <functional>
#include <vector>

#include "lazy/remote.h"

namespace faultline::lazy {

// Pages that are fetched from a page server before the restored processes run. It waits.
class RemoteFetch {
 public:
  // What to do with pages that have come; `contents` is empty for zeros.
  using Sink = std::function<Result<void>(const pageserver::Range&, std::span<const std::byte> contents)>;

  // What is kept from going on: the first instruction, which needs some pages and is answered before the bulk of other clients; or a restore of
  // all memory, which is such a bulk itself.
  enum class For { kFirstInstruction, kWholeMemory };

  // `remote.first` must be connected.
  RemoteFetch(const RemoteOptions& remote, For purpose, Sink sink) : remote_(remote), purpose_(purpose), sink_(std::move(sink)) {}

  void want(pageserver::ObjectId object, uint64_t address, uint64_t pages);
  // Fetches all that is wanted.
  // Errors: those of the connection and of the sink; ENOENT if the server does not have a page; ETIMEDOUT after RemoteOptions::page_timeout of silence.
  Result<void> finish();

 private:
  void ask();

  const RemoteOptions& remote_;
  const For purpose_;
  Sink sink_;
  std::vector<pageserver::Range> wanted_;
  size_t asked_ = 0;        // of wanted_
  uint64_t under_way_ = 0;  // pages
};

}  // namespace faultline::lazy
