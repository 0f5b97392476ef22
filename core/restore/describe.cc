// What --dry-run prints.
#include "core/restore/plan.h"
#include "core/restore/restore.h"
#include "core/restore/shared_memory.h"

namespace faultline::restore {

Result<std::string> describe(const image::ImageDir& dir, const Settings& settings) {
  std::unique_ptr<Plan> plan = TRY(Plan::make(dir, settings));
  const SharedMemory shared(dir, plan->checkpoint(), settings.lazy);
  std::string out = "Processes\n" + plan->tree().describe() + "\nOpen files\n" + plan->files().describe();
  for (const image::Task& task : plan->checkpoint().tasks) {
    if (task.dead()) continue;
    ProgramContext context;
    context.first_fd = plan->first_fd();
    context.space.shared = &shared;
    context.space.fd_of = [](uint32_t id) { return static_cast<int>(id); };
    context.place_thread = [](const agent::Program&) { return Result<std::pair<Vaddr, Vaddr>>(std::pair<Vaddr, Vaddr>(0, 0)); };
    for (const image::VmaEntry& vma : task.mm->vmas)  // as if our vDSO were the image's
      if (vma.status & (image::kVmaVdso | image::kVmaVvar))
        context.space.own_special.push_back({vma.start, vma.end, {}, 0, 0, 0, 0, vma.status & image::kVmaVdso ? "[vdso]" : "[vvar]", {}});
    const TaskPrograms programs = TRY(make_programs(*plan, plan->files(), task, context));
    out += fmt::format("\nProgram of pid {}\n{}", task.pid(), programs.leader.describe());
    for (size_t i = 0; i < programs.threads.size(); ++i) out += fmt::format("\nProgram of thread {}\n{}", task.tree.threads[i + 1], programs.threads[i].describe());
  }
  return out;
}

}  // namespace faultline::restore
