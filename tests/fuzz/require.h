#pragma once

#include <cstdio>
#include <cstdlib>

// What must hold whatever the input is: ends the fuzz target, which the fuzzer reports with the input.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}
