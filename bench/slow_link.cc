// A cable of any length between this network namespace and another: two TUN devices, and packets that pass between them after a while, and
// perhaps not at all. Both ends are the kernel's own TCP. (The kernel's netem is not everywhere.)
//
//   slow_link NETNS [--round-trip-us N] [--loss PER_MILLE] [--seed N]
//
// NETNS: a file such as /proc/PID/ns/net or /run/netns/NAME. Here is 10.77.0.1, there is 10.77.0.2, device "cable0" on both sides. Prints "ready" when
// both are up, and goes on until it is killed or nobody reads its output any more. Exit code 77: this machine has no TUN devices.
//
// Without loss whole segments of up to 64 KiB pass at once (TSO), so that the processor is not what limits; with loss each packet has 1500 bytes.
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

namespace {

constexpr int kNoTun = 77;
constexpr size_t kLargest = (64 << 10) + 256;
constexpr size_t kMostUnderWay = 64 << 20;  // a packet more is lost, as in a router

struct Options {
  const char* netns = nullptr;
  uint64_t one_way_ns = 0;
  unsigned loss = 0;
  uint64_t seed = 1;
};

struct Packet {
  uint64_t due_ns;
  std::vector<char> bytes;
};

struct Direction {
  int from, to;
  std::deque<Packet> under_way;
  size_t size = 0;
};

[[noreturn]] void fail(const char* what, int code = 1) {
  fprintf(stderr, "slow_link: %s: %s\n", what, strerror(errno));
  exit(code);
}

uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

void set_address(int socket, unsigned long request, const char* text, ifreq& wanted) {
  auto* const address = reinterpret_cast<sockaddr_in*>(&wanted.ifr_addr);
  *address = {};
  address->sin_family = AF_INET;
  inet_pton(AF_INET, text, &address->sin_addr);
  if (ioctl(socket, request, &wanted) != 0) fail("cannot set an address of the device");
}

// In the network namespace of the caller.
int make_device(const char* address, bool segments) {
  const int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) fail("/dev/net/tun", kNoTun);
  ifreq wanted = {};
  strcpy(wanted.ifr_name, "cable0");
  wanted.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | (segments ? IFF_VNET_HDR : 0));
  if (ioctl(tun, TUNSETIFF, &wanted) != 0) fail("cannot make a TUN device", kNoTun);
  if (segments && ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0) fail("cannot let whole segments pass");
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) fail("cannot create a socket");
  set_address(socket, SIOCSIFADDR, address, wanted);
  set_address(socket, SIOCSIFNETMASK, "255.255.255.0", wanted);
  wanted.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(socket, SIOCSIFFLAGS, &wanted) != 0) fail("cannot bring the device up");
  close(socket);
  return tun;
}

Options parse(int argc, char** argv) {
  Options o;
  const option names[] = {{"round-trip-us", 1, nullptr, 'd'}, {"loss", 1, nullptr, 'l'}, {"seed", 1, nullptr, 's'}, {}};
  for (int c; (c = getopt_long(argc, argv, "", names, nullptr)) != -1;) {
    switch (c) {
      case 'd': o.one_way_ns = strtoull(optarg, nullptr, 0) * 500; break;
      case 'l': o.loss = static_cast<unsigned>(strtoul(optarg, nullptr, 0)); break;
      case 's': o.seed = strtoull(optarg, nullptr, 0); break;
      default: exit(2);
    }
  }
  if (optind + 1 != argc) {
    fprintf(stderr, "slow_link: which network namespace?\n");
    exit(2);
  }
  o.netns = argv[optind];
  return o;
}

void take(Direction& direction, const Options& o, std::mt19937_64& random) {
  static char buffer[kLargest];
  // In bounded numbers, so that what is due in the other direction is not late.
  for (int i = 0; i < 32; ++i) {
    const ssize_t n = read(direction.from, buffer, sizeof buffer);
    if (n <= 0) return;
    if (random() % 1000 < o.loss || direction.size + static_cast<size_t>(n) > kMostUnderWay) continue;
    direction.under_way.push_back({now_ns() + o.one_way_ns, {buffer, buffer + n}});
    direction.size += static_cast<size_t>(n);
  }
}

// Gives when the next is due; UINT64_MAX if nothing is under way.
uint64_t deliver(Direction& direction) {
  while (!direction.under_way.empty() && direction.under_way.front().due_ns <= now_ns()) {
    const std::vector<char>& bytes = direction.under_way.front().bytes;
    (void)!write(direction.to, bytes.data(), bytes.size());  // what the other side refuses is lost
    direction.size -= bytes.size();
    direction.under_way.pop_front();
  }
  return direction.under_way.empty() ? UINT64_MAX : direction.under_way.front().due_ns;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  const bool segments = o.loss == 0;
  const int here = make_device("10.77.0.1", segments);
  const int other = open(o.netns, O_RDONLY | O_CLOEXEC);
  if (other < 0 || setns(other, CLONE_NEWNET) != 0) fail(o.netns);
  const int there = make_device("10.77.0.2", segments);
  prctl(PR_SET_TIMERSLACK, 1);
  puts("ready");
  fflush(stdout);
  std::mt19937_64 random(o.seed);
  Direction ways[] = {{here, there, {}, 0}, {there, here, {}, 0}};
  for (;;) {
    const uint64_t due = std::min(deliver(ways[0]), deliver(ways[1])), now = now_ns();
    const uint64_t left = due <= now ? 0 : std::min<uint64_t>(due - now, 1'000'000'000);
    const timespec patience = {.tv_sec = static_cast<time_t>(left / 1'000'000'000), .tv_nsec = static_cast<long>(left % 1'000'000'000)};
    // Of the output only its end is told: POLLERR.
    pollfd p[] = {{.fd = here, .events = POLLIN, .revents = 0}, {.fd = there, .events = POLLIN, .revents = 0}, {.fd = 1, .events = 0, .revents = 0}};
    if (ppoll(p, 3, &patience, nullptr) < 0 && errno != EINTR) fail("cannot wait");
    if (p[2].revents & (POLLERR | POLLHUP)) return 0;
    for (int i = 0; i < 2; ++i)
      if (p[i].revents & POLLIN) take(ways[i], o, random);
  }
}
