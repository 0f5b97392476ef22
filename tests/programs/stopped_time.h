#pragma once

// For scenarios that measure time across a checkpoint. The program cannot know how long it was gone, but sees the hole: while it
// waits for "go" it looks at the clock every few milliseconds, and what is missing between two looks is time in which it did not run.

#include "scenario.h"

static volatile double stopped_time_total;  // seconds
static double stopped_time_last;

static inline void stopped_time_begin(void) { stopped_time_last = now_of(CLOCK_MONOTONIC); }

static inline void stopped_time_look(void) {
  double now = now_of(CLOCK_MONOTONIC);
  if (now - stopped_time_last > 0.05) stopped_time_total += now - stopped_time_last;
  stopped_time_last = now;
}

static inline UNUSED void stopped_time_wait_for_go(void) {
  while (!has_mark("go")) {
    sleep_ms(5);
    stopped_time_look();
  }
}

// `measured` seconds for something that takes `wanted` seconds of the program's own time. Both ways of counting the time in which
// the program was gone are right: as passed (absolute end) or as not passed (remaining time); starting anew or ending early is not.
static inline UNUSED void stopped_time_check(const char* what, double measured, double wanted) {
  sleep_ms(100);  // the thread that looks at the clock may wake up later than we
  double total = stopped_time_total;
  CHECK(measured > wanted - 0.02, "%s: took %.3f s, cut short from %.3f s", what, measured, wanted);
  CHECK(measured < wanted + total + 1.2, "%s: took %.3f s instead of %.3f s, with %.3f s in which the program was stopped: it began anew",
        what, measured, wanted, total);
}

// For poll and futex waits: the kernel tells nobody when they will end. Their end is estimated from when the thread last ran, which
// the scheduler forgets when it moves a sleeping thread, and which says nothing after a second checkpoint. Then the time begins anew.
static inline UNUSED void stopped_time_check_loosely(const char* what, double measured, double wanted) {
  sleep_ms(100);  // the thread that looks at the clock may wake up later than we
  double total = stopped_time_total;
  CHECK(measured > wanted - 0.02, "%s: took %.3f s, cut short from %.3f s", what, measured, wanted);
  CHECK(measured < 2 * wanted + total + 1.2, "%s: took %.3f s instead of %.3f s, with %.3f s in which the program was stopped", what,
        measured, wanted, total);
}
