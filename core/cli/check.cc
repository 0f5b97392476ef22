#include <cstdio>
#include <vector>

#include "core/cli/commands.h"
#include "core/cli/feature_table.h"
#include "core/cli/json_text.h"

namespace faultline::cli {

namespace {

struct Finding {
  const Feature* feature;
  Result<void> result;
};

std::vector<Finding> probe_all(const Options& options) {
  std::vector<Finding> findings;
  for (const Feature& f : features()) {
    if (f.need == Need::kSome && !options.extra && !options.all) continue;
    if (f.need == Need::kLater && !options.experimental && !options.all) continue;
    findings.push_back({&f, f.probe()});
  }
  return findings;
}

const char* conclusion(int missing_always, int missing_other) {
  if (missing_always) return "Does not look good.";
  return missing_other ? "Looks good but some features are missing." : "Looks good.";
}

void print_text(const std::vector<Finding>& findings, const char* said) {
  for (const auto& [feature, result] : findings) {
    if (result) {
      printf("found    %s\n", feature->name);
    } else {
      printf("missing  %-26s %s\n", feature->name, result.error().what.c_str());
      printf("         %-26s without it: %s\n", "", feature->without);
    }
  }
  printf("%s\n", said);
}

void print_json(const std::vector<Finding>& findings, const char* said) {
  std::string text = "{\"features\": [";
  const char* separator = "\n  ";
  for (const auto& [feature, result] : findings) {
    text += fmt::format("{}{{\"name\": {}, \"category\": {}, \"found\": {}", separator, json_string(feature->name), static_cast<int>(feature->need),
                        result ? "true" : "false");
    if (!result) text += fmt::format(", \"reason\": {}, \"without\": {}", json_string(result.error().what), json_string(feature->without));
    text += "}";
    separator = ",\n  ";
  }
  printf("%s\n], \"result\": %s}\n", text.c_str(), json_string(said).c_str());
}

Result<int> check_one(const Options& options) {
  const Feature* feature = feature_of(options.feature);
  if (!feature) {
    std::string names;
    for (const Feature& f : features()) names += std::string(" ") + f.name;
    return error(EINVAL, "there is no feature \"{}\"; those there are:{}", options.feature, names);
  }
  const auto result = feature->probe();
  if (options.json) {
    std::vector<Finding> one = {{feature, result}};
    print_json(one, result ? "supported" : "not supported");
  } else if (result) {
    printf("%s is supported\n", feature->name);
  } else {
    printf("%s is not supported: %s\n", feature->name, result.error().what.c_str());
  }
  return result ? 0 : 1;
}

Result<int> run_check(Context& context) {
  const Options& options = context.options;
  if (!options.feature.empty()) return check_one(options);
  const auto findings = probe_all(options);
  int missing_always = 0, missing_other = 0;
  for (const auto& [feature, result] : findings)
    if (!result) ++(feature->need == Need::kAlways ? missing_always : missing_other);
  const char* said = conclusion(missing_always, missing_other);
  if (options.json) print_json(findings, said);
  else print_text(findings, said);
  return missing_always || missing_other ? 1 : 0;
}

}  // namespace

constinit const Command kCheckCommand = {
    .name = "check",
    .verb = kCheck,
    .summary = "tell which kernel features and capabilities are there",
    .usage = "[--extra] [--experimental] [--all] [--feature NAME] [--json]",
    .description = "Tries each feature that is needed, and prints what will not work without those that are missing.\n"
                   "Exit code 0 if all that were asked for are there, 1 if not.\n",
    .examples = "  faultline check                        what every dump and restore needs\n"
                "  faultline check --extra                ... and what only some programs need\n"
                "  faultline check --feature uffd         one feature, for scripts\n"
                "  faultline check --all --json           everything, for programs\n",
    .images = true,
    .privileged = false,
    .run = run_check,
};

}  // namespace faultline::cli
