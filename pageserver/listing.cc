#include "pageserver/listing.h"

#include <sstream>

#include "pageserver/protocol.h"

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

}  // namespace faultline::pageserver
