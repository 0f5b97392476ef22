#include "pageserver/listing.h"

#include <charconv>
#include <sstream>

namespace faultline::pageserver {

namespace {

constexpr size_t kMaxFiles = 1'000'000;

}  // namespace

Result<std::vector<Listed>> parse_listing(const std::string& text) {
  std::vector<Listed> files;
  std::istringstream lines(text);
  for (Listed file; lines >> file.size >> file.name;) {
    if (file.name.find('/') != file.name.npos || !valid_name(file.name) || file.name.empty() || files.size() == kMaxFiles)
      return error(EBADMSG, "the page server lists an image whose name cannot be: \"{}\"", file.name.substr(0, 100));
    files.push_back(file);
  }
  if (!lines.eof()) return error(EBADMSG, "the page server's list of images is malformed");
  return files;
}

std::string pagemap_name(ObjectId object) {
  return fmt::format("pagemap-{}{}.img", type_of(object) == kSharedMemory ? "shmem-" : "", id_of(object));
}

std::optional<ObjectId> object_of_pagemap(std::string_view name) {
  constexpr std::string_view kPrefix = "pagemap-", kShared = "shmem-", kEnd = ".img";
  if (!name.starts_with(kPrefix) || !name.ends_with(kEnd) || name.size() <= kPrefix.size() + kEnd.size()) return std::nullopt;
  std::string_view number = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kEnd.size());
  const bool shared = number.starts_with(kShared);
  if (shared) number.remove_prefix(kShared.size());
  uint64_t id = 0;
  const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), id);
  if (code != std::errc() || end != number.data() + number.size() || id >> 55) return std::nullopt;
  const ObjectId object = object_id(id, shared ? kSharedMemory : kTaskMemory);
  return pagemap_name(object) == name ? std::optional(object) : std::nullopt;  // not 007
}

}  // namespace faultline::pageserver
