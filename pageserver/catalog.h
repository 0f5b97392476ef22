#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "pageserver/stored_source.h"

namespace faultline::pageserver {

// The checkpoints in a directory and below it. One that is in use is loaded once, and is shared by all its sessions; when its inventory has
// changed, new sessions get the new one, while old ones go on with the files that they have open.
class Catalog : public Sources {
 public:
  explicit Catalog(UniqueFd root) : root_(std::make_shared<const UniqueFd>(std::move(root))) {}

  // Errors: ENOENT, also for a directory that holds no complete checkpoint; EXDEV for what leads out of the directory.
  Result<std::shared_ptr<PageSource>> find(const std::string& name) override;
  // Of whole checkpoints: mere memory has to be asked for by whoever has the rest. At most 10000 names, at most 8 directories deep; symbolic links are not followed.
  Result<std::string> names() override;

 private:
  const std::shared_ptr<const UniqueFd> root_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, std::weak_ptr<StoredSource>> loaded_;
  std::deque<std::shared_ptr<StoredSource>> recent_;  // stay loaded for the next session
};

}  // namespace faultline::pageserver
