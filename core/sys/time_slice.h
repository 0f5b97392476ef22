#pragma once

#include <cstdint>

namespace faultline::sys {

// Asks the scheduler to give this thread short turns, and to let it run soon after it was woken (sched_setattr(2): sched_runtime of
// SCHED_OTHER is the slice, Linux 6.12). For threads that others wait for while they have much to do besides: with the usual slice of 3 ms,
// whoever is woken on the same CPU waits that long. Without an effect on kernels that do not know it.
void short_time_slice();

}  // namespace faultline::sys
