// Writes all texts of a checkpoint, and the objects that its tasks share, into a directory as a mount shows them, for tests: text_tool IMAGES DIR
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "browse/text/text.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

Result<void> put(const fs::path& path, const std::string& text) {
  const UniqueFd to(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!to) return sys_error("cannot create {}", path.string());
  return write_all(to.get(), text.data(), text.size(), path.c_str());
}

Result<void> link(const std::string& target, const fs::path& path) {
  if (::symlink(target.c_str(), path.c_str()) < 0) return sys_error("{}: the link cannot be made", path.string());
  return {};
}

Result<void> write_task(Snapshot& snapshot, const Snapshot::Process& process, const fs::path& dir) {
  fs::create_directories(dir / "fd");
  fs::create_directories(dir / "fdinfo");
  for (const TaskFile& file : task_files()) TRY(put(dir / file.name, TRY(file.make(snapshot, process))));
  for (const TaskFile& file : task_links()) TRY(link(TRY(file.make(snapshot, process)), dir / file.name));
  for (const uint32_t tid : process.threads) {
    const fs::path thread = dir / "threads" / std::to_string(tid);
    fs::create_directories(thread);
    for (const ThreadFile& file : thread_files()) TRY(put(thread / file.name, TRY(file.make(snapshot, process, tid))));
  }
  const auto fds = TRY(snapshot.fds(process.pid));
  for (const image::FdinfoEntry& fd : *fds) {
    TRY(link(snapshot.path_of(fd.id), dir / "fd" / std::to_string(fd.fd)));
    TRY(put(dir / "fdinfo" / std::to_string(fd.fd), TRY(fdinfo_text(snapshot, fd))));
  }
  return {};
}

Result<void> write_folder(Snapshot& snapshot, const ObjectFolder& folder, const fs::path& dir) {
  fs::create_directories(dir);
  for (const std::string& name : TRY(folder.list(snapshot))) {
    const auto content = TRY(folder.open(snapshot, name));
    std::string bytes(content->size(), '\0');
    TRY(content->read(0, std::as_writable_bytes(std::span(bytes))));
    TRY(put(dir / name, bytes));
  }
  return {};
}

Result<void> write_texts(const char* images, const fs::path& dir) {
  const auto snapshot = TRY(Snapshot::open(TRY(images_in(images))));
  for (const Snapshot::Process& process : snapshot->processes()) TRY(write_task(*snapshot, process, dir / "tasks" / std::to_string(process.pid)));
  for (const ObjectFolder& folder : object_folders()) TRY(write_folder(*snapshot, folder, dir / folder.name));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto done = write_texts(argv[1], argv[2]);
  if (!done) std::fprintf(stderr, "text_tool: %s\n", done.error().what.c_str());
  return done ? 0 : 1;
}
