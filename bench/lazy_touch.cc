// Measures the pager against a real pages file: how long a first touch takes while everything else arrives in the background, and how
// long it takes until all has arrived, beside the physical limit of the same run (UFFDIO_COPY by one thread from prefaulted memory).
//
//   lazy_touch [--mib N] [--threads N] [--rounds N] [--touches N] [--no-fill] [--remote] [--tls DIR] [--round-trip-us N]
//
// --remote: the pages come over loopback from `faultline page-server`. --tls: through TLS; in DIR are ca.pem, cert.pem, key.pem.
// --round-trip-us: the server is in a network namespace of its own, at the other end of a cable of this length (slow_link).
//
// Prints one JSON object. Only touches of pages that were missing just before are counted (looked up in /proc/self/pagemap).
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/served_checkpoint.h"
#include "core/base/log.h"
#include "lazy/pager.h"
#include "pageserver/connecting_stream.h"
#include "pageserver/tls.h"
#include "uffd/userfault.h"

namespace {

using namespace faultline;
using bench::check;
using bench::ServedCheckpoint;

struct Options {
  uint64_t mib = 1024;
  unsigned threads = 1;
  unsigned rounds = 3;
  uint64_t touches = 40000;
  bool fill = true, remote = false;
  uint64_t round_trip_us = 0;  // 0: loopback
  std::string tls;
};

constexpr size_t kMaxSamples = 1 << 20;

// One process tells another that it may go on. (std::atomic::wait works within one process only.)
struct Signal {
  int ends[2];
  Signal() { if (pipe2(ends, O_CLOEXEC) != 0) abort(); }
  ~Signal() { close(ends[0]); close(ends[1]); }
  Signal(const Signal&) = delete;
  void give() const { (void)!write(ends[1], "", 1); }
  void await() const {
    char c;
    (void)!read(ends[0], &c, 1);
  }
};

struct Signals {
  Signal ready, go, end;
};

// What the target process tells, in shared memory.
struct Report {
  std::atomic<uint64_t> address, uffd;
  std::atomic<uint32_t> failed;
  std::atomic<uint64_t> samples;
  uint32_t nanoseconds[kMaxSamples];
};

uint64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
}

uint64_t word_of(uint64_t page) { return page * 0x9e3779b97f4a7c15 + 1; }

void make_pages(int fd, uint64_t pages) {
  std::vector<uint64_t> block(256 * 512);
  for (uint64_t page = 0; page < pages; page += 256) {
    for (uint64_t i = 0; i < 256; ++i)
      for (uint64_t w = 0; w < 512; ++w) block[i * 512 + w] = word_of(page + i) + w;
    check(pwrite_all(fd, block.data(), block.size() * 8, static_cast<off_t>(page * kPageSize), "the pages file"));
  }
}

bool missing(int pagemap, const void* at) {
  uint64_t entry = 0;
  (void)!pread(pagemap, &entry, 8, static_cast<off_t>(reinterpret_cast<uint64_t>(at) / kPageSize * 8));
  return entry >> 63 == 0;
}

void touch(Report& report, const std::byte* memory, uint64_t pages, uint64_t touches, unsigned seed) {
  const int pagemap = open("/proc/self/pagemap", O_RDONLY);
  std::mt19937_64 random(seed);
  for (uint64_t i = 0; i < touches; ++i) {
    const uint64_t page = random() % pages;
    const auto* const at = reinterpret_cast<const volatile uint64_t*>(memory + page * kPageSize);
    const bool was_missing = missing(pagemap, const_cast<const uint64_t*>(at));
    const uint64_t begin = now();
    const uint64_t word = at[3];
    const uint64_t took = now() - begin;
    if (word != word_of(page) + 3) report.failed = 1;
    if (!was_missing) continue;
    const uint64_t n = report.samples.fetch_add(1);
    if (n < kMaxSamples) report.nanoseconds[n] = static_cast<uint32_t>(std::min<uint64_t>(took, UINT32_MAX));
  }
  close(pagemap);
}

[[noreturn]] void target(Report& report, const Signals& signals, const Options& o) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const uint64_t length = o.mib << 20;
  auto* const memory = static_cast<std::byte*>(mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  auto fault = check(uffd::Userfault::create(uffd::kLazyFeatures));
  check(fault.register_range(reinterpret_cast<Vaddr>(memory), length));
  report.address = reinterpret_cast<uint64_t>(memory);
  report.uffd = static_cast<uint64_t>(fault.get());
  signals.ready.give();
  signals.go.await();
  fault = uffd::Userfault();  // the pager has it
  if (o.threads == 1) {
    touch(report, memory, length / kPageSize, o.touches, 1);
  } else {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < o.threads; ++i)
      threads.emplace_back([&, i] { touch(report, memory, length / kPageSize, o.touches, i + 1); });
    for (auto& t : threads) t.join();
  }
  signals.end.give();
  for (;;) pause();
}

// One thread, 2 MiB at a time, from a mapping that is already populated: no pager can be faster.
double raw_gbps(int fd, uint64_t length) {
  const Mapping source = check(Mapping::map(length, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0, "the pages file"));
  const Mapping memory = check(Mapping::map(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, "memory"));
  const auto fault = check(uffd::Userfault::create(0));
  check(fault.register_range(reinterpret_cast<Vaddr>(memory.data()), length));
  const uint64_t begin = now();
  for (uint64_t at = 0; at < length; at += 2 << 20) {
    const auto p = uffd::UserfaultRef(fault.get()).copy(reinterpret_cast<Vaddr>(memory.data()) + at, source.data() + at, 2 << 20);
    if (p.error != 0) exit(2);
  }
  return static_cast<double>(length) / static_cast<double>(now() - begin);
}

struct Round {
  std::vector<uint32_t> samples;
  double fill_gbps = 0;
};

Round run(int fd, const Options& o, uint16_t port, const pageserver::TlsContext* tls) {
  const uint64_t length = o.mib << 20;
  auto* const report = static_cast<Report*>(mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const Signals signals;
  const pid_t pid = fork();
  if (pid == 0) target(*report, signals, o);
  signals.ready.await();
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  UniqueFd uffd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), static_cast<int>(report->uffd.load()), 0)));
  const Vaddr address = report->address;
  lazy::Pager pager;
  lazy::RemoteOptions remote;
  uint32_t index;
  uint64_t origin = address;
  if (o.remote) {
    remote.connect = [to = check(pageserver::resolve(o.round_trip_us ? "10.77.0.2" : "", port)), tls] {
      return Result<std::unique_ptr<pageserver::Stream>>(pageserver::connecting_stream(to, tls, ""));
    };
    pager.set_remote(remote);
    origin = ServedCheckpoint::kBase;
    index = pager.add_index(lazy::PageIndex::adopt({{.vaddr = origin, .pages = length / kPageSize, .offset = origin, .file = image::kRemoteFile}}), false,
                            pageserver::object_id(ServedCheckpoint::kPid, pageserver::kTaskMemory));
  } else {
    const uint32_t file = check(pager.add_file(UniqueFd(dup(fd)), "pages"));
    index = pager.add_index(lazy::PageIndex::adopt({{.vaddr = origin, .pages = length / kPageSize, .offset = 0, .file = file}}), false);
  }
  check(pager.add({.pid = pid, .image_pid = pid, .uffd = std::move(uffd), .areas = {{.start = address, .length = length, .index = index, .origin = origin}}}));
  const uint64_t begin = now();
  lazy::DetachOptions detach;
  detach.prefetch = o.fill ? lazy::Prefetch::kSequential : lazy::Prefetch::kNone;
  detach.keep_fds = {2};
  const pid_t guard = check(pager.detach(detach));
  if (o.touches != 0) {
    signals.go.give();
  }
  if (!o.fill) {
    signals.end.await();
    kill(pid, SIGKILL);
  }
  int status = 0;
  waitpid(guard, &status, 0);
  const uint64_t filled = now();
  if (status != 0) {
    fprintf(stderr, "lazy_touch: the pager failed with status %d\n", status);
    exit(1);
  }
  if (o.fill && o.touches != 0) signals.end.await();
  Round round;
  round.fill_gbps = static_cast<double>(length) / static_cast<double>(filled - begin);
  round.samples.assign(report->nanoseconds, report->nanoseconds + std::min<uint64_t>(report->samples, kMaxSamples));
  std::sort(round.samples.begin(), round.samples.end());
  if (report->failed) {
    fprintf(stderr, "lazy_touch: a page had the wrong contents\n");
    exit(1);
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  munmap(report, sizeof(Report));
  return round;
}

double microseconds(const std::vector<uint32_t>& sorted, double quantile) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(quantile * static_cast<double>(sorted.size())))] / 1000.0;
}

Options parse(int argc, char** argv) {
  Options o;
  const option names[] = {{"mib", 1, nullptr, 'm'}, {"threads", 1, nullptr, 't'}, {"rounds", 1, nullptr, 'r'}, {"touches", 1, nullptr, 'n'},
                          {"no-fill", 0, nullptr, 'x'}, {"remote", 0, nullptr, 's'}, {"tls", 1, nullptr, 'T'}, {"round-trip-us", 1, nullptr, 'd'}, {}};
  for (int c; (c = getopt_long(argc, argv, "", names, nullptr)) != -1;) {
    switch (c) {
      case 'm': o.mib = strtoull(optarg, nullptr, 0); break;
      case 't': o.threads = static_cast<unsigned>(strtoul(optarg, nullptr, 0)); break;
      case 'r': o.rounds = static_cast<unsigned>(strtoul(optarg, nullptr, 0)); break;
      case 'n': o.touches = strtoull(optarg, nullptr, 0); break;
      case 'x': o.fill = false; break;
      case 's': o.remote = true; break;
      case 'T': o.remote = true, o.tls = optarg; break;
      case 'd': o.remote = true, o.round_trip_us = strtoull(optarg, nullptr, 0); break;
      default: exit(2);
    }
  }
  return o;
}

// Gives its pid. On loopback, or at the other end of the cable.
pid_t serve(ServedCheckpoint& checkpoint, const Options& o) {
  std::vector<std::string> words;
  if (!o.tls.empty()) words = {"--tls", "--tls-no-cn-verify", "--tls-cacert", o.tls + "/ca.pem", "--tls-cert", o.tls + "/cert.pem", "--tls-key", o.tls + "/key.pem"};
  if (o.round_trip_us) words.insert(words.end(), {"--address", "0.0.0.0", "--insecure-network"});
  return checkpoint.serve(words, o.round_trip_us != 0);
}

// A cable to the network namespace of the server; gives the pid of who is the cable.
pid_t lay_cable(pid_t server, const Options& o) {
  return bench::start({bench::program_folder() + "/slow_link", fmt::format("/proc/{}/ns/net", server), "--round-trip-us", std::to_string(o.round_trip_us)}, STDOUT_FILENO);
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  static ServedCheckpoint checkpoint;
  const UniqueFd fd(open(checkpoint.pages_file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return perror(checkpoint.pages_file().c_str()), 1;
  make_pages(fd.get(), (o.mib << 20) / kPageSize);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  raw_gbps(fd.get(), o.mib << 20);  // warm-up: the first use of a guest's memory is slow
  printf("{\"mib\": %llu, \"threads\": %u, \"fill\": %s, \"rounds\": [", static_cast<unsigned long long>(o.mib), o.threads, o.fill ? "true" : "false");
  std::optional<pageserver::TlsContext> tls;
  if (!o.tls.empty()) tls = check(pageserver::TlsContext::make({.cacert = o.tls + "/ca.pem", .cacrl = {}, .cert = o.tls + "/cert.pem", .key = o.tls + "/key.pem", .allow = {}}));
  if (o.round_trip_us) check(unshare(CLONE_NEWNET) == 0 ? Result<void>() : sys_error("cannot create a network namespace"));
  const pid_t server = o.remote ? serve(checkpoint, o) : 0;
  const pid_t cable = o.round_trip_us ? lay_cable(server, o) : 0;
  for (unsigned i = 0; i < o.rounds; ++i) {
    const double raw = raw_gbps(fd.get(), o.mib << 20);
    const Round r = run(fd.get(), o, checkpoint.port(), tls ? &*tls : nullptr);
    printf("%s\n  {\"raw_copy_gbps\": %.2f, \"fill_gbps\": %.2f, \"fill_of_raw\": %.2f, \"touches\": %zu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}",
           i ? "," : "", raw, r.fill_gbps, r.fill_gbps / raw, r.samples.size(), microseconds(r.samples, 0.5), microseconds(r.samples, 0.9),
           microseconds(r.samples, 0.99), microseconds(r.samples, 1));
  }
  printf("\n]}\n");
  for (const pid_t helper : {server, cable}) {
    if (helper == 0) continue;
    kill(helper, SIGKILL);
    waitpid(helper, nullptr, 0);
  }
}
