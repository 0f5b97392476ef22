#include "core/base/counters.h"

#include <algorithm>
#include <numeric>

namespace faultline {

void Latency::add(uint64_t ns) {
  const auto* at = std::ranges::lower_bound(kBounds, (ns + 999) / 1000);
  count(classes[at - kBounds.begin()]);
  count(nanoseconds, ns);
}

uint64_t Latency::total() const { return LatencyView::of(*this).total(); }

LatencyView LatencyView::of(const Latency& latency) {
  LatencyView view;
  for (size_t i = 0; i < view.classes.size(); ++i) view.classes[i] = get(latency.classes[i]);
  return view;
}

LatencyView LatencyView::operator-(const LatencyView& earlier) const {
  LatencyView view;
  for (size_t i = 0; i < classes.size(); ++i) view.classes[i] = classes[i] - std::min(classes[i], earlier.classes[i]);
  return view;
}

uint64_t LatencyView::total() const { return std::accumulate(classes.begin(), classes.end(), uint64_t{0}); }

double LatencyView::quantile(double q) const {
  const double wanted = q * static_cast<double>(total());
  double below = 0;
  for (size_t i = 0; i < classes.size(); ++i) {
    const auto here = static_cast<double>(classes[i]);
    if (here > 0 && below + here >= wanted) {
      const double low = i == 0 ? 0 : Latency::kBounds[i - 1];
      const double high = i < Latency::kBounds.size() ? Latency::kBounds[i] : low;
      return low + (high - low) * (wanted - below) / here;
    }
    below += here;
  }
  return 0;
}

const char* name_of(PagerState state) {
  switch (state) {
    case PagerState::kStarting: return "starting";
    case PagerState::kServing: return "serving";
    case PagerState::kSourceLost: return "source-lost";
    case PagerState::kComplete: return "complete";
    case PagerState::kFailed: return "failed";
  }
  return "unknown";
}

}  // namespace faultline
