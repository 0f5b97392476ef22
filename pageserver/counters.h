#pragma once

#include "core/base/counters.h"

namespace faultline::pageserver {

// What a server has done, for all its workers together. Beside the real ones, tests have their own.
using Counters = ServerCounters;

}  // namespace faultline::pageserver
