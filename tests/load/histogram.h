// Counts of latencies, exact below 256 ns and within 0.4 % above: each power of two is cut into 256 equal parts.
// Fixed memory (about 120 KiB); histograms of several threads can be added up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tests/load/timing.h"

namespace ppx::load {

class Histogram {
 public:
  void record(Nanos value);  // below 0 counts as 0
  void add(const Histogram& other);

  uint64_t count() const { return count_; }
  Nanos max() const { return max_; }  // exact; 0 if empty
  // The least recorded value that `percent` of all values do not exceed (0 < percent <= 100), rounded up to the
  // end of its part, but never beyond max(). 0 if empty.
  Nanos percentile(double percent) const;

 private:
  static constexpr int kPartBits = 8;
  static constexpr std::size_t kParts = std::size_t{1} << kPartBits;
  // One block of exact values, then a block for each power of two up to 2^63.
  static constexpr std::size_t kCells = kParts * (64 - kPartBits);

  static std::size_t cellOf(uint64_t value);
  static uint64_t lastOf(std::size_t cell);

  std::array<uint64_t, kCells> cells_{};
  uint64_t count_ = 0;
  Nanos max_ = 0;
};

}  // namespace ppx::load
