#pragma once

#if defined(__x86_64__)
#include "arch/x86_64/agent_calls.h"
#else
#error "arch/contract.h says what a port must give"
#endif
