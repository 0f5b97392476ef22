#include "core/image/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/unique_fd.h"
#include "core/cli/commands.h"

namespace faultline::cli {

namespace {

Result<int> run_decode(Context& context) {
  const std::string& name = context.options.words.front();
  const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return sys_error("cannot open {}", name);
  struct stat st;
  if (fstat(fd.get(), &st) < 0) return sys_error("cannot examine {}", name);
  if (!S_ISREG(st.st_mode)) return error(EINVAL, "{} is not a regular file; decode takes one image of a checkpoint, for example {}/inventory.img", name, name);
  std::string text = TRY(image::decode_json(fd.get(), name));
  text += '\n';
  TRY(write_all(STDOUT_FILENO, text.data(), text.size(), "standard output"));
  return 0;
}

}  // namespace

constinit const Command kDecodeCommand = {
    .name = "decode",
    .verb = kDecode,
    .summary = "print an image as JSON",
    .usage = "FILE",
    .description = "Prints one image of a checkpoint as JSON on standard output, with the field names and values that crit prints.\n",
    .examples = "  faultline decode images/pstree.img\n"
                "  faultline decode images/core-4711.img | jq .entries[0].tc.comm\n",
    .images = false,
    .privileged = false,
    .run = run_decode,
};

}  // namespace faultline::cli
