#include "core/sys/vma_iterator.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <span>

#include "core/sys/btf.h"

namespace faultline::sys {

namespace {

UniqueFd bpf(bpf_cmd command, bpf_attr& attributes) { return UniqueFd(static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes))); }

uint64_t address_of(const void* p) { return reinterpret_cast<uint64_t>(p); }

constexpr bpf_insn load(uint8_t to, uint8_t from, int16_t offset) { return {BPF_LDX | BPF_MEM | BPF_DW, to, from, offset, 0}; }
constexpr bpf_insn store(uint8_t to, int16_t offset, uint8_t from) { return {BPF_STX | BPF_MEM | BPF_DW, to, from, offset, 0}; }
constexpr bpf_insn copy(uint8_t to, uint8_t from) { return {BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0}; }
constexpr bpf_insn set(uint8_t to, int32_t value) { return {BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value}; }
constexpr bpf_insn add(uint8_t to, int32_t value) { return {BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value}; }
constexpr bpf_insn skip_if_zero(uint8_t what, int16_t instructions) { return {BPF_JMP | BPF_JEQ | BPF_K, what, 0, instructions, 0}; }
constexpr bpf_insn call(int32_t helper) { return {BPF_JMP | BPF_CALL, 0, 0, 0, helper}; }
constexpr bpf_insn leave() { return {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}; }

// The kernel lets only programs read its structures whose licence goes together with the GPL. So this one, the instructions in load_program(),
// is offered under the two-clause BSD licence and under the GPL, version 2, as well as under that of Faultline.
constexpr char kLicence[] = "Dual BSD/GPL";

Result<UniqueFd> load_program(const Btf& types) {
  constexpr int16_t kRecord = -static_cast<int16_t>(sizeof(VmaIterator::Vma));  // on the stack, below r10
  const int16_t meta = TRY(types.offset_of("bpf_iter__task_vma", "meta")), seq = TRY(types.offset_of("bpf_iter_meta", "seq"));
  const int16_t vma = TRY(types.offset_of("bpf_iter__task_vma", "vma"));
  const int16_t start = TRY(types.offset_of("vm_area_struct", "vm_start")), end = TRY(types.offset_of("vm_area_struct", "vm_end"));
  const int16_t flags = TRY(types.offset_of("vm_area_struct", "vm_flags"));
  const std::array program = {
      copy(6, 1),
      load(7, 6, vma),
      skip_if_zero(7, 12),  // to set(0, 0): after the last area it is called once more
      load(1, 7, start),
      store(10, kRecord, 1),
      load(1, 7, end),
      store(10, kRecord + 8, 1),
      load(1, 7, flags),
      store(10, kRecord + 16, 1),
      load(1, 6, meta),
      load(1, 1, seq),
      copy(2, 10),
      add(2, kRecord),
      set(3, sizeof(VmaIterator::Vma)),
      call(BPF_FUNC_seq_write),
      set(0, 0),
      leave(),
  };
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_TRACING;
  attributes.expected_attach_type = BPF_TRACE_ITER;
  attributes.attach_btf_id = TRY(types.find("bpf_iter_task_vma", BTF_KIND_FUNC));
  attributes.insns = address_of(program.data());
  attributes.insn_cnt = program.size();
  attributes.license = address_of(kLicence);
  UniqueFd fd = bpf(BPF_PROG_LOAD, attributes);
  if (!fd) return sys_error("a BPF program cannot be loaded");
  return fd;
}

}  // namespace

Result<VmaIterator> VmaIterator::open() { return VmaIterator(TRY(load_program(TRY(Btf::of_kernel())))); }

Result<std::vector<VmaIterator::Vma>> VmaIterator::read(pid_t pid) const {
  bpf_iter_link_info over{};
  over.task.tid = static_cast<uint32_t>(pid);  // by `pid`, they would come once for each thread
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(program_.get());
  attributes.link_create.attach_type = BPF_TRACE_ITER;
  attributes.link_create.iter_info = address_of(&over);
  attributes.link_create.iter_info_len = sizeof over;
  const UniqueFd link = bpf(BPF_LINK_CREATE, attributes);
  if (!link) return sys_error("a BPF program cannot be set on pid {}", pid);
  attributes = {};
  attributes.iter_create.link_fd = static_cast<uint32_t>(link.get());
  const UniqueFd iterator = bpf(BPF_ITER_CREATE, attributes);
  if (!iterator) return sys_error("a BPF program cannot be run over pid {}", pid);
  std::vector<Vma> vmas;
  std::array<Vma, 1024> records;
  for (;;) {
    const ssize_t n = ::read(iterator.get(), records.data(), sizeof records);
    if (n < 0 && errno == EAGAIN) continue;  // the kernel has rested
    if (n < 0) return sys_error("the areas of pid {} (BPF)", pid);
    if (n == 0) return vmas;
    if (static_cast<size_t>(n) % sizeof(Vma) != 0) return error(EBADMSG, "the areas of pid {} (BPF): half of one", pid);
    for (const Vma& vma : std::span(records).first(static_cast<size_t>(n) / sizeof(Vma))) {
      // After the last area of more than a read can give, the kernel (seen with 6.18) begins again where that read began.
      if (!vmas.empty() && vma.start <= vmas.back().start) return vmas;
      vmas.push_back(vma);
    }
  }
}

}  // namespace faultline::sys
