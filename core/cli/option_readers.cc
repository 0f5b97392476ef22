#include "core/cli/option_readers.h"

#include <charconv>
#include <limits>

namespace faultline::cli {

namespace {

// Calls `each(item)` for the items of "a,b,c", until one fails.
template <typename Each>
Result<void> for_items(std::string_view list, Each each) {
  for (;;) {
    const size_t comma = list.find(',');
    TRY(each(list.substr(0, comma)));
    if (comma == list.npos) return {};
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

Result<int> read_number(std::string_view text, int minimum) {
  int value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return error(EINVAL, "\"{}\" is not a decimal number", text);
  if (value < minimum) return error(EINVAL, "{} is less than {}", value, minimum);
  return value;
}

Result<uint64_t> parse_size(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc::result_out_of_range) return error(ERANGE, "\"{}\" is too large", text);
  if (code != std::errc()) return error(EINVAL, "\"{}\" is not a size; a size is a decimal number, with K, M or G behind it or without", text);
  // CRIU looks for the unit anywhere behind the number, so that "1MB" and "1 M" are sizes too.
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  int shift = 0;
  if (unit.find('K') != unit.npos) shift = 10;
  if (unit.find('M') != unit.npos) shift = 20;
  if (unit.find('G') != unit.npos) shift = 30;
  if (shift == 0 && !unit.empty()) return error(EINVAL, "\"{}\" is not a size: the units are K, M and G", text);
  if (value > std::numeric_limits<uint64_t>::max() >> shift) return error(ERANGE, "\"{}\" is too large", text);
  return value << shift;
}

bool one_of(std::string_view choices, std::string_view text) {
  if (text.empty()) return false;
  for (;;) {
    const size_t bar = choices.find('|');
    if (choices.substr(0, bar) == text) return true;
    if (bar == choices.npos) return false;
    choices.remove_prefix(bar + 1);
  }
}

Result<void> read_verbosity(Options& options, std::optional<std::string_view> text) {
  if (!text) {
    ++options.verbosity;
  } else if (!text->empty() && text->find_first_not_of('v') == text->npos) {
    // -vvv comes as the option v with the argument "vv".
    options.verbosity += 1 + static_cast<int>(text->size());
  } else {
    options.verbosity = TRY(read_number(*text, 0));
  }
  return {};
}

Result<void> read_ext_unix_sk(Options& options, std::optional<std::string_view> text) {
  options.ext_unix_sk = true;
  if (!text) return {};
  return for_items(*text, [&](std::string_view item) -> Result<void> {
    // Inode numbers of sockets are 32 bits wide, unsigned.
    uint32_t inode = 0;
    const auto [end, code] = std::from_chars(item.data(), item.data() + item.size(), inode);
    if (code != std::errc() || end != item.data() + item.size() || inode == 0) return error(EINVAL, "\"{}\" is not an inode number", item);
    options.ext_unix_sk_inodes.emplace_back(item);
    return {};
  });
}

Result<void> read_manage_cgroups(Options& options, std::optional<std::string_view> text) {
  constexpr std::string_view kModes = "ignore|none|props|soft|full|strict";
  const std::string_view mode = text.value_or("soft");
  if (!one_of(kModes, mode)) return error(EINVAL, "\"{}\" is not one of {}", mode, kModes);
  options.manage_cgroups = mode;
  return {};
}

Result<void> read_cpu_cap(Options& options, std::optional<std::string_view> text) {
  if (!text) {
    options.cpu_cap = kCpuAll | kCpuImage;
    return {};
  }
  return for_items(*text, [&](std::string_view item) -> Result<void> {
    const std::string_view whole = item;
    const bool remove = item.starts_with('^');
    if (remove) item.remove_prefix(1);
    int bits = 0;
    if (item == "fpu") bits = kCpuFpu;
    else if (item == "cpu") bits = kCpuCpu;
    else if (item == "ins") bits = kCpuIns;
    else if (item == "all") bits = kCpuAll;
    else if (item != "none") return error(EINVAL, "\"{}\" is not one of fpu, cpu, ins, all, none, with or without ^ in front", whole);

    if (bits == 0) options.cpu_cap = remove ? kCpuAll | kCpuImage : 0;
    else if (remove) options.cpu_cap = (options.cpu_cap & ~bits) | kCpuImage;
    else options.cpu_cap |= bits | kCpuImage;
    return {};
  });
}

Result<void> read_removed(Options&, std::optional<std::string_view>) {
  return error(EINVAL, "this option no longer exists; leave it out");
}

}  // namespace faultline::cli
