#pragma once

#include <atomic>
#include <map>
#include <memory>

#include "core/dump/freeze.h"
#include "core/dump/handover.h"
#include "core/dump/memory_reader.h"
#include "pageserver/stored_source.h"

namespace faultline::dump {

// A checkpoint whose late pages are still in the frozen processes, from which they are read when somebody asks for them. Any thread.
class LiveSource final : public pageserver::StoredSource {
 public:
  // The images are complete; the tasks stay frozen as long as the source is used. `handover` must outlive the source.
  static Result<std::shared_ptr<LiveSource>> load(const image::ImageDir& dir, const std::vector<FrozenTask>& tasks, Handover& handover);

  pageserver::SourceKind kind() const override { return pageserver::SourceKind::kLive; }
  Result<pageserver::Place> locate(const pageserver::Range& range) override;
  Result<void> copy(const pageserver::Range& range, std::span<std::byte> to) override;
  Result<void> opened(uint64_t client) override { return handover_.opened(client); }
  // Without CLOSE or DONE it is not known whether what was sent has arrived.
  void closed(uint64_t client) override { handover_.closed(client); }
  Result<void> commit(uint64_t client) override { return handover_.commit(client); }
  Result<void> done(uint64_t client) override { return handover_.done(client); }
  void revoked(uint64_t client) override { handover_.revoked(client); }
  bool is_revoking() const override { return handover_.stage() == Handover::Stage::kRevoking; }

 private:
  LiveSource(image::ImageDir dir, Version version, Handover& handover) : StoredSource(std::move(dir), version), handover_(handover) {}

  Handover& handover_;
  std::map<pageserver::ObjectId, MemoryReader> memory_;
};

// The only source of a server that serves one checkpoint, without a name.
class OneSource final : public pageserver::Sources {
 public:
  explicit OneSource(std::shared_ptr<pageserver::PageSource> source) : source_(std::move(source)) {}

  Result<std::shared_ptr<pageserver::PageSource>> find(const std::string& name) override;
  Result<std::string> names() override { return std::string("\n"); }

 private:
  const std::shared_ptr<pageserver::PageSource> source_;
};

}  // namespace faultline::dump
