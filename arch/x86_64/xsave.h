#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/image/messages.h"

namespace faultline::arch {

// The XSAVE area in its standard format: legacy region (FXSAVE), header, components (Intel SDM 1, 13.4).
inline constexpr size_t kSwReserved = 464;  // where ptrace puts the mask of components that the regset has
inline constexpr size_t kHeader = 512;
inline constexpr size_t kExtended = 576;

struct Component {
  int bit;
  size_t size;
  size_t usual;  // its offset on every Intel CPU; others place some of them elsewhere, CPUID leaf 13 tells
};
inline constexpr Component kYmm = {2, 256, 576}, kBndregs = {3, 64, 960}, kBndcsr = {4, 64, 1024}, kOpmask = {5, 64, 1088},
                           kZmmUpper = {6, 512, 1152}, kHi16Zmm = {7, 1024, 1664}, kPkru = {9, 8, 2688};

template <typename T>
void store(std::span<std::byte> area, size_t at, T value) {
  if (at + sizeof value <= area.size()) std::memcpy(area.data() + at, &value, sizeof value);
}

template <typename Word>
void put_words(std::span<std::byte> area, size_t at, size_t bytes, const std::vector<Word>& from) {
  if (at + bytes > area.size()) return;
  std::memcpy(area.data() + at, from.data(), std::min(bytes, from.size() * sizeof(Word)));
}

// The legacy region but for the mask of mxcsr, which is the CPU's.
inline void put_legacy(const image::UserX86FpregsEntry& from, std::span<std::byte> area) {
  store(area, 0, static_cast<uint16_t>(from.cwd));
  store(area, 2, static_cast<uint16_t>(from.swd));
  store(area, 4, static_cast<uint16_t>(from.twd));
  store(area, 6, static_cast<uint16_t>(from.fop));
  store(area, 8, from.rip);
  store(area, 16, from.rdp);
  store(area, 24, from.mxcsr);
  put_words(area, 32, 128, from.st_space);
  put_words(area, 160, 256, from.xmm_space);
}

}  // namespace faultline::arch
