// The order in which sessions change hands: who has just talked is waiting, who is silent will not notice.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "common/table.h"

namespace ppx {

// The most recent traffic first, in either direction.
inline void sortByTraffic(const Table& table, std::vector<SlotRef>& refs) {
  std::vector<std::pair<uint64_t, SlotRef>> dated;
  dated.reserve(refs.size());
  for (const SlotRef& ref : refs) {
    const SessionSlot& slot = table.session(ref.slot);
    dated.emplace_back(std::max(slot.lastInMs.load(), slot.lastOutMs.load()), ref);
  }
  std::stable_sort(dated.begin(), dated.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::transform(dated.begin(), dated.end(), refs.begin(), [](const auto& each) { return each.second; });
}

}  // namespace ppx
