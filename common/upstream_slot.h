// An upstream's row. The supervisor owns its life; the prober its health; each forwarder one entry of
// `streams`.
#pragma once

#include "common/table_layout.h"
#include "common/worker_role.h"

namespace ppx {

// `life`: generation << 8 | UpstreamLife. Supervisor.
enum class UpstreamLife : uint8_t { kFree = 0, kActive = 1, kDraining = 2 };
// `health`: generation << 8 | UpstreamHealth. Prober (kProbing also: supervisor, with a new life).
enum class UpstreamHealth : uint8_t { kProbing = 0, kReady = 1, kDown = 2, kNotReady = 3 };
// `streams[row]`: generation << 8 | StreamState. Forwarder of that row.
enum class StreamState : uint8_t { kNone = 0, kConnecting = 1, kOpen = 2, kDraining = 3, kFailing = 4 };

inline constexpr size_t kMaxHostBytes = 255;

constexpr uint64_t lifeWord(uint32_t generation, uint8_t state) {
  return static_cast<uint64_t>(generation) << 8 | state;
}
constexpr uint32_t lifeGeneration(uint64_t word) {
  return static_cast<uint32_t>(word >> 8);
}
template <typename State>
constexpr State lifeState(uint64_t word) {
  return static_cast<State>(word & 0xff);
}

struct alignas(64) UpstreamSlot {
  // Supervisor; fields other than `life` are written while it says kFree.
  Atomic<uint64_t> life;
  Atomic<uint64_t> uuidHigh;
  Atomic<uint64_t> uuidLow;
  Atomic<uint32_t> pool;
  Atomic<uint32_t> port;
  Atomic<uint32_t> aliveTimeoutMs;
  Atomic<uint32_t> readyTimeoutMs;
  Atomic<uint64_t> registeredRealtimeMs;
  Atomic<uint64_t> drainSinceMs;  // monotonic
  char host[kMaxHostBytes + 1];   // zero-terminated

  // Prober.
  alignas(64) Atomic<uint64_t> health;
  Atomic<uint64_t> lastReadyMs;  // monotonic: last good answer to `ready`
  Atomic<uint64_t> lastLiveMs;   // monotonic: last good answer on `live`
  Atomic<uint32_t> readyFailures;
  Atomic<uint32_t> timesDown;
  // generation << 8 | version of the contract's extensions that its last good answer to `ready` announced; 0:
  // plain (minor 1).
  Atomic<uint64_t> announced;

  // Forwarders.
  alignas(64) Atomic<uint64_t> streams[kMaxForwarders];
  Atomic<uint32_t> streamFailures[kMaxForwarders];  // in a row; 0 after a success
  alignas(64) Atomic<uint64_t> sessionsAssigned;    // ever
  Atomic<uint64_t> messagesIn, messagesOut;         // in: from clients to this upstream
  Atomic<uint64_t> bytesIn, bytesOut;
  Atomic<uint64_t> broadcasts;
};
static_assert(sizeof(UpstreamSlot) % 64 == 0 &&
              offsetof(UpstreamSlot, streams) == offsetof(UpstreamSlot, health) + 64);

}  // namespace ppx
