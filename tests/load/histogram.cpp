#include "tests/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ppx::load {

// A value of b > 8 bits loses its lowest b - 9: what is left, 9 bits with the first one set, is block and part.
std::size_t Histogram::cellOf(uint64_t value) {
  if (value < kParts) {
    return value;
  }
  const auto shift = static_cast<std::size_t>(std::bit_width(value)) - kPartBits - 1;
  return kParts * shift + (value >> shift);
}

uint64_t Histogram::lastOf(std::size_t cell) {
  if (cell < 2 * kParts) {
    return cell;
  }
  const std::size_t shift = cell / kParts - 1;
  return ((cell - kParts * shift + 1) << shift) - 1;
}

void Histogram::record(Nanos value) {
  value = std::max<Nanos>(value, 0);
  ++cells_[cellOf(static_cast<uint64_t>(value))];
  ++count_;
  max_ = std::max(max_, value);
}

void Histogram::add(const Histogram& other) {
  for (std::size_t i = 0; i < kCells; ++i) {
    cells_[i] += other.cells_[i];
  }
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

Nanos Histogram::percentile(double percent) const {
  const auto rank = static_cast<uint64_t>(std::ceil(percent / 100 * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (std::size_t i = 0; i < kCells; ++i) {
    seen += cells_[i];
    if (seen >= rank && seen > 0) {
      return std::min(static_cast<Nanos>(lastOf(i)), max_);
    }
  }
  return max_;
}

}  // namespace ppx::load
