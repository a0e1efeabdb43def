// The order in which sessions change hands: who has just talked is waiting, who is silent will not notice.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "common/table.h"

namespace ppx {

// Of either direction, CLOCK_MONOTONIC. Who has just come is about to talk.
inline uint64_t lastTrafficMs(const Table& table, uint32_t slot) {
  const SessionSlot& session = table.session(slot);
  return std::max({session.lastInMs.load(), session.lastOutMs.load(), session.acceptedMs.load()});
}

// The most recent traffic first.
inline void sortByTraffic(const Table& table, std::vector<SlotRef>& refs) {
  std::vector<std::pair<uint64_t, SlotRef>> dated;
  dated.reserve(refs.size());
  for (const SlotRef& ref : refs) dated.emplace_back(lastTrafficMs(table, ref.slot), ref);
  std::stable_sort(dated.begin(), dated.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::transform(dated.begin(), dated.end(), refs.begin(), [](const auto& each) { return each.second; });
}

}  // namespace ppx
