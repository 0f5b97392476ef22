#include "browse/mapped_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "core/sys/build_id.h"

namespace faultline::browse {

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const image::RegFileEntry& entry) {
  // Not blocking, should it be a FIFO or a terminal by now.
  UniqueFd fd(::open(entry.name.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) return sys_error("the mapped file {}", entry.name);
  struct stat st;
  if (::fstat(fd.get(), &st) < 0) return sys_error("the mapped file {}", entry.name);
  if (!S_ISREG(st.st_mode)) return error(ESTALE, "the mapped file {} is not a regular file here", entry.name);
  const auto size = static_cast<uint64_t>(st.st_size);
  if (entry.size && *entry.size != size)
    return error(ESTALE, "the mapped file {} has {} bytes here, and had {} when it was dumped: it is another", entry.name, size, *entry.size);
  if (!entry.build_id.empty() && entry.build_id != sys::build_id_of(fd.get()))
    return error(ESTALE, "the mapped file {} has another build id here than when it was dumped", entry.name);
  return std::shared_ptr<const MappedFile>(new MappedFile(std::move(fd), size));
}

Result<void> MappedFile::read(uint64_t offset, std::span<std::byte> to) const {
  if (offset >= page_up(size_) || to.size() > page_up(size_) - offset) return error(EIO, "byte {} is behind the end of a mapped file", offset + to.size());
  const uint64_t there = offset < size_ ? std::min<uint64_t>(to.size(), size_ - offset) : 0;
  std::ranges::fill(to.subspan(there), std::byte{0});
  return pread_all(fd_.get(), to.data(), there, static_cast<off_t>(offset), "a mapped file");
}

}  // namespace faultline::browse
