// Writes the core of a process of a checkpoint to a file, for tests: core_tool DIR PID FILE
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "browse/elf_core.h"

using namespace faultline;
using namespace faultline::browse;

namespace {

Result<void> write_core(const char* dir, uint32_t pid, const char* file) {
  auto snapshot = TRY(Snapshot::open(TRY(images_in(dir))));
  const auto core = TRY(ElfCore::make(*snapshot, pid));
  const UniqueFd to(::open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!to) return sys_error("cannot create {}", file);
  std::vector<std::byte> buffer(1 << 20);
  for (uint64_t at = 0; (at = core->next(true, at)) < core->size();) {
    const uint64_t end = core->next(false, at);
    const size_t n = TRY(core->read(at, std::span(buffer).first(std::min<uint64_t>(end - at, buffer.size()))));
    TRY(pwrite_all(to.get(), buffer.data(), n, static_cast<off_t>(at), file));
    at += n;
  }
  if (::ftruncate(to.get(), static_cast<off_t>(core->size())) < 0) return sys_error("cannot extend {}", file);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto done = write_core(argv[1], static_cast<uint32_t>(atoi(argv[2])), argv[3]);
  if (!done) fprintf(stderr, "core_tool: %s\n", done.error().what.c_str());
  return done ? 0 : 1;
}
