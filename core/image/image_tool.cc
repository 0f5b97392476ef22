// image_tool FILE...: the images as JSON, one after the other. For the tests that compare us with other decoders.
#include <fcntl.h>

#include <cstdio>

#include "core/base/unique_fd.h"
#include "core/image/json.h"

using namespace faultline;

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    UniqueFd fd(::open(argv[i], O_RDONLY | O_CLOEXEC));
    if (!fd) return std::perror(argv[i]), 1;
    const auto json = image::decode_json(fd.get(), argv[i]);
    if (!json) return std::fprintf(stderr, "%s\n", json.error().what.c_str()), 1;
    std::puts(json->c_str());
  }
}
