#pragma once

#include <vector>

#include "core/dump/areas.h"
#include "core/dump/freeze.h"

namespace faultline::dump {

// A process on its way into the images.
struct DumpedTask {
  FrozenTask* frozen;
  image::Task image;
  AddressSpace space;
};

// Refuses what cannot be checkpointed in processes themselves (files and areas have their own checks): other namespaces, seccomp, objects
// that processes share otherwise than as threads, a session or group outside the tree without --shell-job.
Result<void> check_tasks(const std::vector<FrozenTask>& tasks, bool shell_job);

// Fills in what can be known from outside, without entering the process: descriptors, areas, files. `index` counts the tasks from 0.
Result<DumpedTask> collect_task(FrozenTask& frozen, bool root, uint32_t index, sys::AreaReader& areas, objects::FileCollector& files);

// Runs the agent in all threads of the process, and fills in what only they can tell.
Result<void> ask_task(DumpedTask& task);

// The ids that inventory.img records for the dumping process itself. Namespaces with these ids are not dumped.
image::TaskKobjIdsEntry own_ids();

}  // namespace faultline::dump
