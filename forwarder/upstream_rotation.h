// Round robin over the ready upstreams of a pool, exact over all forwarders: the turn is one counter in the
// pool's row, and every forwarder counts the same upstreams in the same order.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "common/table.h"

namespace ppx {

class UpstreamRotation {
 public:
  explicit UpstreamRotation(const Table& table) : table_(&table) {}

  // The next upstream of the pool: active, ready and accepted by `usable`. One that is not usable here gives
  // its turn to the one after it. None: there is no such upstream.
  std::optional<uint32_t> next(uint32_t pool, const std::function<bool(uint32_t upstream)>& usable);
  // Whether the pool has an active and ready upstream at all.
  bool any(uint32_t pool);

 private:
  void refresh();
  const Table* table_;
  uint64_t epoch_ = ~0ull;                    // header().upstreamEpoch that ready_ was made from
  std::vector<std::vector<uint32_t>> ready_;  // by pool
};

}  // namespace ppx
