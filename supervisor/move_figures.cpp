#include "supervisor/move_figures.h"

#include <algorithm>
#include <cmath>

namespace ppx {
namespace {

double milliseconds(uint64_t us) {
  return static_cast<double>(us) / 1000;
}

}  // namespace

uint64_t MoveFigures::served() const {
  return reports_.sum(&control::TookOver::sessions) + reports_.sum(&control::TookOver::closed);
}

uint64_t MoveFigures::waiting() const {
  return reports_.sum(&control::TookOver::waiting);
}

uint64_t MoveFigures::inDoubt() const {
  return given_.inDoubt + reports_.sum(&control::TookOver::inDoubt);
}

uint64_t MoveFigures::maxStallUs() const {
  uint64_t most = 0;
  for (const auto& [who, report] : reports_) most = std::max(most, report.maxStallUs);
  return most;
}

uint64_t MoveFigures::stallUs(double share) const {
  uint64_t buckets[control::kStallBuckets] = {}, total = 0;
  for (const auto& [who, report] : reports_)
    for (uint32_t i = 0; i < control::kStallBuckets; ++i) {
      buckets[i] += report.stalls[i];
      total += report.stalls[i];
    }
  auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(total)));
  uint64_t seen = 0;
  for (uint32_t i = 0; i < control::kStallBuckets && total > 0; ++i) {
    seen += buckets[i];
    if (seen >= wanted) return std::min(static_cast<uint64_t>(std::pow(2.0, (i + 1) / 2.0)), maxStallUs());
  }
  return 0;
}

nlohmann::ordered_json MoveFigures::json() const {
  return {{"sessions", reports_.sum(&control::TookOver::sessions)},
          {"stall_ms",
           {{"p50", milliseconds(stallUs(0.5))},
            {"p99", milliseconds(stallUs(0.99))},
            {"max", milliseconds(maxStallUs())}}},
          {"bytes_carried",
           {{"in", reports_.sum(&control::TookOver::inputBytes)},
            {"out", reports_.sum(&control::TookOver::outputBytes)}}},
          {"in_doubt", inDoubt()},
          {"mismatches", reports_.sum(&control::TookOver::mismatches)},
          {"closed", reports_.sum(&control::TookOver::closed)},
          {"lingering_streams", given_.lingering}};
}

}  // namespace ppx
