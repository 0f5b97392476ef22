#pragma once

#include <linux/btf.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/mapping.h"

namespace faultline::sys {

// The types of the running kernel: /sys/kernel/btf/vmlinux. Format: linux-doc, bpf/btf.rst. Safe from any thread.
class Btf {
 public:
  // Takes 0.6 ms. Errors: ENOENT if the kernel was built without; EBADMSG if it cannot be understood.
  static Result<Btf> of_kernel();

  // The number of a type. `kind`: BTF_KIND_... Errors: ENOENT.
  Result<uint32_t> find(std::string_view name, uint32_t kind) const;
  // Where in a struct a member is, which may be one of its nameless parts; in bytes. Errors: ENOENT.
  Result<int16_t> offset_of(std::string_view structure, std::string_view member) const;

 private:
  explicit Btf(Mapping file) : file_(std::move(file)) {}

  Result<void> read_types();
  const btf_type& type(uint32_t id) const { return *reinterpret_cast<const btf_type*>(types_.data() + places_[id - 1]); }
  std::string_view string(uint32_t offset) const;
  // In bits, or -1.
  int64_t find_member(uint32_t id, std::string_view member, int depth) const;

  Mapping file_;
  std::span<const std::byte> types_;
  std::string_view strings_;       // each ends with a zero byte
  std::vector<uint32_t> places_;  // of type `id` at id - 1, in types_
};

}  // namespace faultline::sys
