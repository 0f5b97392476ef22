#include "core/cli/option_pairs.h"

#include <algorithm>

#include "core/cli/option_table.h"

namespace faultline::cli {

namespace {

constexpr const char* kOfServing[] = {"compress", "max-clients"};
constexpr const char* kOfOffering[] = {"portfile", "page-timeout", "status-fd", "allow"};
constexpr const char* kOfFetching[] = {"checkpoint", "page-timeout", "on-page-loss"};
constexpr const char* kOfConnections[] = {"address", "port", "ps-socket", "insecure-network", "tls", "tls-cacert", "tls-cacrl", "tls-cert", "tls-key", "tls-no-cn-verify"};
constexpr const char* kOfCertificates[] = {"tls", "allow"};

struct Pair {
  uint32_t verbs;
  std::span<const char* const> names;
  bool (*works)(const Options&);  // whether they have an effect there
  const char* why;                // if not: what follows the name of the option
};

const Pair kPairs[] = {
    {kPageServer, kOfServing, [](const Options& o) { return o.lazy_pages; }, "needs --lazy-pages: one dump is all that is taken in without"},
    {kDump, kOfOffering, [](const Options& o) { return o.lazy_pages; }, "needs --lazy-pages: a dump waits for nobody without"},
    {kDump, kOfConnections, [](const Options& o) { return o.lazy_pages || o.page_server; }, "needs --page-server or --lazy-pages: memory goes into files without"},
    {kRestore | kLazyPages, kOfFetching, [](const Options& o) { return o.page_server; }, "needs --page-server: memory comes from files without"},
    {kRestore | kLazyPages, kOfConnections, [](const Options& o) { return o.page_server; }, "needs --page-server: memory comes from files without"},
    // As in CRIU; but who writes both believes that the connection is encrypted.
    {kAllVerbs, kOfCertificates, [](const Options& o) { return o.ps_socket < 0; },
     "has no effect with --ps-socket, on which nothing is encrypted: whoever has connected it takes care of that; leave one of them out"},
};

bool is_given(const char* name, const Options& options) {
  const auto table = option_table();
  const auto spec = std::ranges::find_if(table, [&](const Spec& s) { return std::string_view(s.name) == name; });
  FL_CHECK(spec != table.end());
  return !is_default(*spec, options);
}

}  // namespace

std::vector<std::string> find_pairs_without_effect(const Options& given, const Options& options) {
  std::vector<std::string> sentences;
  for (const Pair& pair : kPairs) {
    if (!(pair.verbs & options.verb) || pair.works(options)) continue;
    for (const char* name : pair.names)
      if (is_given(name, given)) sentences.push_back(fmt::format("--{} {}", name, pair.why));
  }
  return sentences;
}

}  // namespace faultline::cli
