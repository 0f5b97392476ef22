#pragma once

#include <chrono>
#include <functional>

#include "core/dump/freeze.h"
#include "core/dump/page_store.h"
#include "core/image/image_dir.h"
#include "core/objects/files.h"

namespace faultline::dump {

struct Settings {
  pid_t pid = 0;                              // root of the tree
  Afterwards afterwards = Afterwards::kKill;  // after success; after a failure the tree runs on
  objects::FilePolicy files;
  std::chrono::milliseconds timeout{10000};   // for stopping the tree
  bool sync = true;                           // images are on stable storage before the tree is killed
  image::OriginEntry origin;                  // tool and options; the rest is filled in
  PageServer page_server;                     // with a stream, memory goes there; everything else into the directory all the same
};

// How serving frozen processes ended: what is to be done with them, and how that is to be told.
struct Served {
  Afterwards afterwards;
  Result<void> outcome;
};

// What the caller may want to do on the way. Any of them may be empty.
struct Hooks {
  GoOn go_on;                                   // asked again and again, from two threads; an error abandons the dump
  std::function<void(uint64_t bytes)> total;    // how much memory there is to write, at most
  std::function<void(uint64_t bytes)> written;  // so much more of it is done; called from two threads
  std::function<Result<void>()> post_dump;      // images are complete, the tree still stands; a failure lets it run on
  // With it, memory that may come late stays in the processes, the images tell that it is to be fetched, and `settings.afterwards` is not
  // looked at: at the very end, this serves the processes (core/dump/live.h).
  std::function<Served(FrozenTree& tree)> serve;
};

// Checkpoints a process tree. The tree is as it was after any failure, and no inventory is left behind then, so that an incomplete
// checkpoint is never mistaken for a complete one. Must be called by a thread without other children that are traced.
// Errors: ENOTSUP for what cannot be checkpointed, naming it, before anything was changed in the tree; others say what failed.
Result<image::DumpStatsEntry> run(const image::ImageDir& dir, const Settings& settings, const Hooks& hooks);

}  // namespace faultline::dump
