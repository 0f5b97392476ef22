#include "core/image/working_set.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstring>

#include "core/base/unique_fd.h"

namespace faultline::image {

namespace {

struct Head {
  char magic[4];
  uint32_t version;
  uint32_t count;
  uint32_t reserved;
  uint64_t checksum;
};
static_assert(sizeof(Head) == 24);

constexpr char kMagic[4] = {'F', 'L', 'W', 'S'};
constexpr uint32_t kVersion = 1;

}  // namespace

std::string working_set_name(uint32_t pid) { return fmt::format("working-set-{}.flws", pid); }

Result<void> write_working_set(int dir_fd, const std::string& name, const std::vector<Vaddr>& origins) {
  const std::string temporary = name + ".tmp";
  Head head = {.version = kVersion, .count = static_cast<uint32_t>(origins.size()), .reserved = 0,
               .checksum = XXH3_64bits(origins.data(), origins.size() * sizeof(Vaddr))};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes.append(reinterpret_cast<const char*>(origins.data()), origins.size() * sizeof(Vaddr));
  const UniqueFd file(::openat(dir_fd, temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return sys_error("cannot create {}", temporary);
  auto written = write_all(file.get(), bytes.data(), bytes.size(), temporary.c_str());
  if (written && ::renameat(dir_fd, temporary.c_str(), dir_fd, name.c_str()) != 0)
    written = sys_error("cannot rename {} to {}", temporary, name);
  if (!written) (void)::unlinkat(dir_fd, temporary.c_str(), 0);
  return written;
}

Result<std::vector<Vaddr>> read_working_set(int dir_fd, const std::string& name) {
  const UniqueFd file(::openat(dir_fd, name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return sys_error("cannot open {}", name);
  struct stat st;
  if (::fstat(file.get(), &st) != 0) return sys_error("cannot find the size of {}", name);
  Head head;
  TRY(pread_all(file.get(), &head, sizeof head, 0, name.c_str()));
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0 || head.version != kVersion)
    return error(EBADMSG, "{}: is not a working set of version {}; delete it, and it is recorded again", name, kVersion);
  if (head.count > kMaxWorkingSet || static_cast<uint64_t>(st.st_size) != sizeof head + head.count * sizeof(Vaddr))
    return error(EBADMSG, "{}: has {} bytes, which does not fit {} pages", name, st.st_size, head.count);
  std::vector<Vaddr> origins(head.count);
  TRY(pread_all(file.get(), origins.data(), origins.size() * sizeof(Vaddr), sizeof head, name.c_str()));
  if (XXH3_64bits(origins.data(), origins.size() * sizeof(Vaddr)) != head.checksum)
    return error(EBADMSG, "{}: the checksum does not fit; delete it, and it is recorded again", name);
  for (const Vaddr origin : origins)
    if (origin % kPageSize != 0) return error(EBADMSG, "{}: {:#x} is not the address of a page", name, origin);
  return origins;
}

}  // namespace faultline::image
