// Finds the known word that a person most likely meant, for error messages. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace ppx {

// Letters to insert, drop, replace or swap with their neighbour to turn one word into the other; upper and
// lower case,
// '-' and '_' count as the same. Words are compared by their first 64 characters.
std::size_t editDistance(std::string_view a, std::string_view b);

struct NearestKey {
  std::string_view key;  // points into the candidates; empty if there are none
  bool close = false;    // near enough to ask "did you mean": a third of its letters differ at most
};

// The first of the nearest candidates.
NearestKey nearestKey(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace ppx
