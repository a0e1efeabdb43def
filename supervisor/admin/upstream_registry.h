// The registered upstreams: the supervisor's side of their life.
//
//              add      health says ready   health says otherwise   remove     all streams ended
//  (none)      probing  -                   -                       -          -
//  probing     -        ready               probing                 draining   -
//  ready       -        -                   down                    draining   -
//  down        -        ready               -                       draining   -
//  draining    -        -                   -                       -          (none)
//
// Health is the prober's; this class reads it from the table and waits for news of it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/doorbells.h"
#include "common/table.h"

namespace ppx {

struct UpstreamRequest {
  std::string host;
  uint16_t port = 0;
  uint32_t pool = 0;  // row in the table
  uint32_t aliveTimeoutMs = 30'000;
  uint32_t readyTimeoutMs = 5'000;
};

struct UpstreamRef {
  uint32_t slot = 0;
  uint32_t generation = 0;
  Uuid uuid;
};

struct AddOutcome {
  enum class Kind : uint8_t { kAdded, kAlreadyThere, kFull };
  Kind kind = Kind::kFull;
  UpstreamRef upstream;  // the new one, or the one that is there
};

const char* upstreamStateName(const UpstreamSlot& slot);  // probing, ready, not_ready, down, draining

// Any thread.
class UpstreamRegistry {
 public:
  UpstreamRegistry(const Table& table, const Doorbells& doorbells) : table_(&table), doorbells_(&doorbells) {}

  AddOutcome add(const UpstreamRequest& request);
  // Waits until its first probe has an answer: true when it is ready.
  bool waitReady(const UpstreamRef& upstream);
  // Begins to drain it. False: there is no such upstream.
  bool remove(const Uuid& uuid);
  std::optional<UpstreamRef> find(const Uuid& uuid) const;
  std::vector<UpstreamRef> list() const;

  // The prober or a forwarder says that something about it changed.
  void changed(uint32_t slot, uint32_t generation);
  // Now and then: frees drained ones whose forwarders never answered.
  void sweep();

 private:
  bool occupied(uint32_t slot) const;
  void announce();
  void freeIfDrained(uint32_t slot);
  bool streamsEnded(const UpstreamSlot& slot, uint32_t generation) const;

  const Table* table_;
  const Doorbells* doorbells_;
  mutable std::mutex mutex_;
  std::condition_variable news_;
};

}  // namespace ppx
