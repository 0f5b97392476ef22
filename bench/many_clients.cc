// Measures `faultline page-server` with many clients at once: each reads all pages and throws them away; one thread plays them all.
//
//   many_clients [CLIENTS] [MIB]
//
// Prints one JSON object: the bandwidth of one client alone, of all together, and the server's own memory at its largest.
#include <poll.h>
#include <sys/wait.h>
#include <time.h>

#include <vector>

#include "bench/served_checkpoint.h"
#include "pageserver/client.h"
#include "pageserver/connecting_stream.h"

namespace {

using namespace faultline;
using bench::check;
using bench::ServedCheckpoint;

constexpr uint64_t kUnderWay = 2048, kRange = 64;  // pages: as a pager does it

double seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

uint64_t own_kib(pid_t pid) {
  FILE* f = fopen(("/proc/" + std::to_string(pid) + "/status").c_str(), "r");
  char line[256];
  unsigned long kib = 0;
  while (f && fgets(line, sizeof line, f) && sscanf(line, "RssAnon: %lu", &kib) != 1) {}
  if (f) fclose(f);
  return kib;
}

struct Reader {
  pageserver::Client client;
  uint64_t asked = 0, come = 0;

  void ask(uint64_t pages) {
    for (; asked < pages && asked - come < kUnderWay; asked += kRange) {
      const pageserver::Range range = {pageserver::object_id(ServedCheckpoint::kPid, pageserver::kTaskMemory), ServedCheckpoint::kBase + asked * kPageSize, std::min(kRange, pages - asked)};
      client.read({&range, 1}, false);
    }
    check(client.flush());
  }
};

// Bytes per second of all together.
double read_all(size_t clients, uint64_t pages, uint16_t port, pid_t server, uint64_t& memory_kib) {
  std::vector<Reader> readers;
  for (size_t i = 0; i < clients; ++i) {
    readers.push_back({check(pageserver::Client::start(pageserver::connecting_stream(check(pageserver::resolve("", port)), nullptr, ""), {.client = i + 1}))});
    check(readers.back().client.wait_ready(std::chrono::seconds(10)));
  }
  const double begin = seconds();
  for (Reader& reader : readers) reader.ask(pages);
  size_t done = 0;
  double looked = 0;
  while (done < clients) {
    std::vector<pollfd> polls;
    for (Reader& reader : readers) polls.push_back({.fd = reader.come < pages ? reader.client.fd() : -1, .events = reader.client.wanted_events(), .revents = 0});
    if (poll(polls.data(), polls.size(), 10000) <= 0) exit(3);
    for (size_t i = 0; i < clients; ++i) {
      if (polls[i].revents == 0) continue;
      Reader& reader = readers[i];
      const pageserver::ClientEvents events = {.pages = [&](const pageserver::Range& range, std::span<const std::byte>) { reader.come += range.pages; }, .failed = {}, .revoked = {}};
      check(reader.client.receive(512 << 10, events));
      reader.ask(pages);
      done += reader.come >= pages;
    }
    if (seconds() - looked > 0.02) memory_kib = std::max(memory_kib, own_kib(server)), looked = seconds();
  }
  return static_cast<double>(clients * pages * kPageSize) / (seconds() - begin);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t clients = argc > 1 ? strtoul(argv[1], nullptr, 0) : 64;
  const uint64_t length = (argc > 2 ? strtoull(argv[2], nullptr, 0) : 256) << 20, pages = length / kPageSize;
  static ServedCheckpoint checkpoint;
  const UniqueFd fd(open(checkpoint.pages_file().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return perror(checkpoint.pages_file().c_str()), 1;
  const std::vector<std::byte> block(1 << 20, std::byte{1});
  for (uint64_t at = 0; at < length; at += block.size()) check(pwrite_all(fd.get(), block.data(), block.size(), static_cast<off_t>(at), "the pages file"));
  const pid_t server = checkpoint.serve({});
  const uint16_t port = checkpoint.port();
  uint64_t memory_kib = 0;
  read_all(1, pages, port, server, memory_kib);  // warm
  const double one = read_all(1, pages, port, server, memory_kib), all = read_all(clients, pages, port, server, memory_kib);
  printf("{\"clients\": %zu, \"mib\": %llu, \"one_gbps\": %.2f, \"all_gbps\": %.2f, \"all_of_one\": %.2f, \"server_own_kib\": %llu}\n", clients,
         static_cast<unsigned long long>(length >> 20), one / 1e9, all / 1e9, all / one, static_cast<unsigned long long>(memory_kib));
  kill(server, SIGKILL);
}
