// Connects g++'s coverage with libFuzzer. clang 14 cannot compile the program (its std::expected needs destructors that are trivial
// under a condition), and g++ only knows the form of coverage in which every block of code calls a function; libFuzzer takes counters
// that are kept elsewhere from this section. (It has a __sanitizer_cov_trace_pc of its own; ours stands first at the link and is taken.)
#include <cstdint>

namespace {

constexpr uint32_t kCounters = 1 << 16;
__attribute__((section("__libfuzzer_extra_counters"), used)) uint8_t counters[kCounters];

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
  // Multiplied by the golden ratio: neighbouring blocks of code, which are near each other, get counters far from each other.
  const uint64_t at = reinterpret_cast<uint64_t>(__builtin_return_address(0));
  uint8_t& counter = counters[static_cast<uint32_t>(at * 0x9e3779b97f4a7c15u >> 48)];
  if (counter != 255) ++counter;
}

// Comparisons of floating point numbers, which libFuzzer has no use for.
extern "C" void __sanitizer_cov_trace_cmpf(float, float) {}
extern "C" void __sanitizer_cov_trace_cmpd(double, double) {}
