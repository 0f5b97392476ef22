#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/cli/options.h"

namespace faultline::cli {

// How an option is written.
enum class Form {
  kBool,      // --name, --no-name
  kFlag,      // --name
  kRequired,  // --name VALUE, --name=VALUE
  kOptional,  // --name, --name=VALUE
};

// Where the value of an option is stored, which also says how its text is read:
// a number is decimal, a uint64_t is a size, a vector collects what is given several times.
using Member = std::variant<bool Options::*, int Options::*, uint64_t Options::*, std::string Options::*,
                            std::vector<std::string> Options::*>;

// Help is printed in these groups.
enum class Group { kGeneral, kRestore, kObjects, kCgroups, kMemory, kCpu, kOwn };

// One option: everything that parser, help and refusal know about it.
struct Spec {
  const char* name;
  char short_name;       // 0: none
  Form form;
  const char* argument;  // its name in the help; if it has a '|', these are the only values allowed
  uint32_t verbs;        // where it has an effect
  uint32_t works;        // where that effect exists already; elsewhere it is refused unless its value changes nothing
  Group group;
  Member member;
  const char* help;
  const char* way_out = nullptr;  // what to do instead, if it is refused
  int minimum = 0;                // of a number
  // Reads the text in another way than the member's type says; nullopt: given without an argument.
  Result<void> (*read)(Options&, std::optional<std::string_view>) = nullptr;
  // True if the value changes nothing although it is not the default.
  bool (*harmless)(const Options&) = nullptr;
};

std::span<const Spec> option_table();

// True if the option's value is the one it has when it is not given.
bool is_default(const Spec& spec, const Options& options);

}  // namespace faultline::cli
