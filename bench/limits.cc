// What the machine can do at best: small raw programs, without any of our libraries. Prints one JSON object.
//   userfault round trip with the handler on the CPU of the faulting thread, UFFDIO_COPY bandwidth of one thread, fork+exec of a static program.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

int userfault(void* start, size_t size) {
  const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  uffdio_api api = {UFFD_API, 0, 0};
  uffdio_register reg = {{reinterpret_cast<uint64_t>(start), size}, UFFDIO_REGISTER_MODE_MISSING, 0};
  if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
    perror("userfaultfd");
    exit(1);
  }
  return fd;
}

char* anonymous(size_t size) { return static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }

void round_trips(double& p50, double& p99) {
  constexpr size_t kPages = 20000;
  char* area = anonymous(kPages * 4096);
  char* page = anonymous(4096);
  memset(page, 7, 4096);
  const int fd = userfault(area, kPages * 4096);
  pin(0);
  std::thread handler([&] {
    uffd_msg message;
    for (size_t i = 0; i < kPages && read(fd, &message, sizeof message) == sizeof message; ++i) {
      uffdio_copy copy = {message.arg.pagefault.address & ~4095ull, reinterpret_cast<uint64_t>(page), 4096, 0, 0};
      ioctl(fd, UFFDIO_COPY, &copy);
    }
  });
  std::vector<double> times;
  for (size_t i = 0; i < kPages; ++i) {
    const double begin = now();
    *const_cast<volatile char*>(area + i * 4096);
    times.push_back((now() - begin) * 1e6);
  }
  handler.join();
  std::sort(times.begin(), times.end());
  p50 = times[kPages / 2], p99 = times[kPages * 99 / 100];
  close(fd);
}

// Gigabytes per second, by pieces of this size; the second pass, when the machine's memory has been used once.
double copy_rate(size_t piece) {
  constexpr size_t kSize = 1ul << 30;
  char* from = anonymous(kSize);
  memset(from, 5, kSize);
  double rate = 0;
  for (int pass = 0; pass < 2; ++pass) {
    char* to = anonymous(kSize);
    const int fd = userfault(to, kSize);
    const double begin = now();
    for (size_t at = 0; at < kSize; at += piece) {
      uffdio_copy copy = {reinterpret_cast<uint64_t>(to + at), reinterpret_cast<uint64_t>(from + at), piece, 0, 0};
      if (ioctl(fd, UFFDIO_COPY, &copy)) exit(1);
    }
    rate = static_cast<double>(kSize) / 1e9 / (now() - begin);
    close(fd);
    munmap(to, kSize);
  }
  munmap(from, kSize);
  return rate;
}

double spawn_ms(char* self) {
  std::vector<double> times;
  for (int i = 0; i < 50; ++i) {
    char* const argv[] = {self, const_cast<char*>("--nothing"), nullptr};
    char* const env[] = {nullptr};
    pid_t pid;
    const double begin = now();
    posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, argv, env);
    waitpid(pid, nullptr, 0);
    times.push_back((now() - begin) * 1e3);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && !strcmp(argv[1], "--nothing")) return 0;
  const double spawn = spawn_ms(argv[0]);
  const double small = copy_rate(4096), large = copy_rate(2 << 20);
  double p50, p99;
  round_trips(p50, p99);
  printf("{\"userfault_p50_us\": %.2f, \"userfault_p99_us\": %.2f, \"copy_4k_gb_s\": %.2f, \"copy_2m_gb_s\": %.2f, \"spawn_static_ms\": %.2f}\n", p50, p99,
         small, large, spawn);
}
