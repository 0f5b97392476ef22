#include "core/cli/commands.h"

namespace faultline::cli {

namespace {

const Command* const kCommands[] = {&kDumpCommand, &kRestoreCommand, &kLazyPagesCommand, &kPageServerCommand,
                                    &kTopCommand, &kMountCommand, &kUmountCommand, &kShowCommand, &kCheckCommand, &kDecodeCommand};

}  // namespace

std::span<const Command* const> commands() { return kCommands; }

const Command* command_of(Verb verb) {
  for (const Command* c : kCommands)
    if (c->verb == verb) return c;
  return nullptr;
}

}  // namespace faultline::cli
