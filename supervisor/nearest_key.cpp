#include "supervisor/nearest_key.h"

#include <algorithm>
#include <array>

namespace ppx {
namespace {

constexpr std::size_t kMaxCompared = 64;

char folded(char c) {
  if (c == '-') return '_';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

// Optimal string alignment: the rows of the usual matrix, three at a time.
std::size_t editDistance(std::string_view a, std::string_view b) {
  a = a.substr(0, kMaxCompared);
  b = b.substr(0, kMaxCompared);
  using Row = std::array<std::size_t, kMaxCompared + 1>;
  Row before{};
  Row above{};
  Row row{};
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before = above;
    above = row;
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const char x = folded(a[i - 1]);
      const char y = folded(b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (x == y ? 0U : 1U)});
      const bool swapped = i > 1 && j > 1 && x == folded(b[j - 2]) && y == folded(a[i - 2]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

NearestKey nearestKey(std::string_view word, const std::vector<std::string_view>& candidates) {
  NearestKey nearest;
  std::size_t least = 0;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = editDistance(word, candidate);
    if (!nearest.key.empty() && distance >= least) continue;
    least = distance;
    nearest.key = candidate;
  }
  const std::size_t allowed = std::max<std::size_t>(1, std::max(word.size(), nearest.key.size()) / 3);
  nearest.close = !nearest.key.empty() && word.size() <= kMaxCompared && least <= allowed;
  return nearest;
}

}  // namespace ppx
