// The registered upstreams: the supervisor's side of their life.
//
//              add      health:     health:     health:    remove     streams ended,
//                       ready       not ready   down                  or drain_max over
//  (none)      probing  -           -           -          -          -
//  probing     (409)    ready       not_ready   down       draining   -
//  ready       (409)    -           not_ready   down       draining   -
//  not_ready   (409)    ready       -           down       draining   -
//  down        (409)    ready       not_ready   -          draining   -
//  draining    (409)    -           -           -          -          (none), next generation
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

// What people see: `life` and `health` as one word.
enum class UpstreamState : uint8_t { kProbing, kReady, kNotReady, kDown, kDraining };
inline constexpr UpstreamState kUpstreamStates[] = {UpstreamState::kProbing, UpstreamState::kReady,
                                                    UpstreamState::kNotReady, UpstreamState::kDown,
                                                    UpstreamState::kDraining};

UpstreamState upstreamState(const UpstreamSlot& slot);
const char* upstreamStateName(UpstreamState state);  // probing, ready, not_ready, down, draining

// Any thread.
class UpstreamRegistry {
 public:
  static constexpr uint32_t kMaxWaitMs = 60'000;
  static constexpr int kMaxWaiters = 48;

  UpstreamRegistry(const Table& table, const Doorbells& doorbells) : table_(&table), doorbells_(&doorbells) {}

  AddOutcome add(const UpstreamRequest& request);
  // Waits for its readiness as long as its ready_timeout, kMaxWaitMs at most; true: it is ready. Not when
  // kMaxWaiters wait already (each holds a thread), nor after stopWaiting().
  bool waitReady(const UpstreamRef& upstream);
  void stopWaiting();
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
  int waiters_ = 0;
  bool stopped_ = false;
};

}  // namespace ppx
