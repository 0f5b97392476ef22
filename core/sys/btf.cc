#include "core/sys/btf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "core/base/unique_fd.h"

namespace faultline::sys {

namespace {

constexpr char kPath[] = "/sys/kernel/btf/vmlinux";
constexpr int kMaxDepth = 8;  // of nameless parts within each other

// How many bytes a type takes with what follows it.
size_t size_of(const btf_type& type) {
  const size_t n = BTF_INFO_VLEN(type.info);
  switch (BTF_INFO_KIND(type.info)) {
    case BTF_KIND_INT: return sizeof type + sizeof(uint32_t);
    case BTF_KIND_ARRAY: return sizeof type + sizeof(btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION: return sizeof type + n * sizeof(btf_member);
    case BTF_KIND_ENUM: return sizeof type + n * sizeof(btf_enum);
    case BTF_KIND_ENUM64: return sizeof type + n * sizeof(btf_enum64);
    case BTF_KIND_FUNC_PROTO: return sizeof type + n * sizeof(btf_param);
    case BTF_KIND_VAR: return sizeof type + sizeof(btf_var);
    case BTF_KIND_DATASEC: return sizeof type + n * sizeof(btf_var_secinfo);
    case BTF_KIND_DECL_TAG: return sizeof type + sizeof(btf_decl_tag);
    default: return sizeof type;
  }
}

// Mapped, which spares a copy of 5 MB, since Linux 6.16; read before.
Result<Mapping> contents() {
  const UniqueFd fd(::open(kPath, O_RDONLY | O_CLOEXEC));
  struct stat st;
  if (!fd || ::fstat(fd.get(), &st) < 0) return sys_error("{}", kPath);
  const auto size = static_cast<size_t>(st.st_size);
  if (auto mapped = Mapping::map(size, PROT_READ, MAP_PRIVATE, fd.get(), 0, kPath)) return mapped;
  Mapping memory = TRY(Mapping::map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, kPath));
  for (size_t got = 0; got < size;) {
    const ssize_t n = ::read(fd.get(), memory.data() + got, size - got);
    if (n < 0) return sys_error("{}", kPath);
    if (n == 0) return error(EBADMSG, "{} ends too early", kPath);
    got += static_cast<size_t>(n);
  }
  return memory;
}

}  // namespace

Result<Btf> Btf::of_kernel() {
  Btf btf(TRY(contents()));
  TRY(btf.read_types());
  return btf;
}

Result<void> Btf::read_types() {
  const auto malformed = [] { return error(EBADMSG, "{} cannot be understood", kPath); };
  const auto bytes = file_.bytes();
  btf_header header;
  if (bytes.size() < sizeof header) return malformed();
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto lies_within = [&](uint64_t at, uint64_t size) { return header.hdr_len + at + size <= bytes.size(); };
  if (header.magic != BTF_MAGIC || !lies_within(header.type_off, header.type_len) || !lies_within(header.str_off, header.str_len)) return malformed();
  types_ = bytes.subspan(header.hdr_len + header.type_off, header.type_len);
  strings_ = {reinterpret_cast<const char*>(bytes.data()) + header.hdr_len + header.str_off, header.str_len};
  if (!strings_.ends_with('\0')) return malformed();
  places_.reserve(types_.size() / 20);  // 25 bytes on the average
  for (size_t at = 0; at < types_.size(); at += size_of(type(static_cast<uint32_t>(places_.size())))) {
    if (types_.size() - at < sizeof(btf_type)) return malformed();
    places_.push_back(static_cast<uint32_t>(at));
    if (types_.size() - at < size_of(type(static_cast<uint32_t>(places_.size())))) return malformed();
  }
  return {};
}

std::string_view Btf::string(uint32_t offset) const { return offset < strings_.size() ? strings_.data() + offset : ""; }

Result<uint32_t> Btf::find(std::string_view name, uint32_t kind) const {
  // No string is there twice, so that names can be compared as numbers.
  std::string whole(1, '\0');
  whole.append(name).push_back('\0');
  const size_t at = strings_.find(whole);
  for (uint32_t id = 1; at != strings_.npos && id <= places_.size(); ++id)
    if (type(id).name_off == at + 1 && BTF_INFO_KIND(type(id).info) == kind) return id;
  return error(ENOENT, "{}: there is no {}", kPath, name);
}

int64_t Btf::find_member(uint32_t id, std::string_view member, int depth) const {
  if (id == 0 || id > places_.size() || depth == kMaxDepth) return -1;
  const btf_type& t = type(id);
  const uint32_t kind = BTF_INFO_KIND(t.info);
  if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION) return -1;
  const std::span members(reinterpret_cast<const btf_member*>(&t + 1), BTF_INFO_VLEN(t.info));
  for (const btf_member& m : members) {
    const int64_t offset = BTF_INFO_KFLAG(t.info) ? BTF_MEMBER_BIT_OFFSET(m.offset) : m.offset;
    const std::string_view name = string(m.name_off);
    if (name == member) return offset;
    const int64_t within = name.empty() ? find_member(m.type, member, depth + 1) : -1;
    if (within >= 0) return offset + within;
  }
  return -1;
}

Result<int16_t> Btf::offset_of(std::string_view structure, std::string_view member) const {
  const int64_t bits = find_member(TRY(find(structure, BTF_KIND_STRUCT)), member, 0);
  if (bits < 0 || bits % 8 != 0 || bits / 8 > INT16_MAX) return error(ENOENT, "{}: struct {} has no {}", kPath, structure, member);
  return static_cast<int16_t>(bits / 8);
}

}  // namespace faultline::sys
