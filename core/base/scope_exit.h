#pragma once

namespace faultline {

// Does something at the end of a scope, however that is left.
template <typename Action>
struct ScopeExit {
  explicit ScopeExit(Action a) : action(a) {}
  ~ScopeExit() { action(); }
  ScopeExit(const ScopeExit&) = delete;
  ScopeExit& operator=(const ScopeExit&) = delete;
  Action action;
};

}  // namespace faultline
