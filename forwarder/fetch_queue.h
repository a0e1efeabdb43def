// Which descriptors are asked of custody next: the sessions with the latest traffic first, whoever asked before. What is
// under way cannot be overtaken, so little is: two messages' worth, and less of sessions that are quiet.
#pragma once

#include <functional>
#include <queue>
#include <span>
#include <unordered_map>
#include <vector>

#include "common/custody_protocol.h"
#include "common/session_table.h"

namespace ppx {

// Slots that wait for their descriptor. The Asio thread.
class FetchQueue {
 public:
  // `after`: a dead worker whose last messages the custodian reads before it answers; default: nobody.
  using Fetch = std::function<void(std::span<const custody::Record>, WorkerId after)>;
  FetchQueue(const Table& table, Fetch fetch) : table_(&table), fetch_(std::move(fetch)) {}

  // A later life of the slot takes the place of an earlier one.
  void add(std::span<const SlotRef> refs, WorkerId after);
  // It is no longer waited for, and others are asked for in its place. False: it was not asked for.
  bool answered(SlotRef ref);
  bool waits(uint32_t slot) const { return waiting_.contains(slot); }
  bool empty() const { return waiting_.empty(); }

 private:
  struct Waiting {
    uint32_t generation = 0;
    bool asked = false;
  };
  struct Due {
    uint64_t trafficMs;
    uint64_t order;
    SlotRef ref;
    WorkerId after;
    bool operator<(const Due& other) const {
      return trafficMs != other.trafficMs ? trafficMs < other.trafficMs : order > other.order;
    }
  };

  void ask();
  void flush(std::vector<custody::Record>& records, WorkerId after);

  const Table* table_;
  Fetch fetch_;
  std::unordered_map<uint32_t, Waiting> waiting_;  // by slot
  std::priority_queue<Due> due_;
  uint64_t added_ = 0;
  size_t underWay_ = 0;
};

}  // namespace ppx
