// Rows of listeners, pools and workers: settings that workers read live, and figures that the supervisor
// reads.
#pragma once

#include "common/close_reason.h"
#include "common/table_layout.h"
#include "common/worker_role.h"

namespace ppx {

inline constexpr uint32_t kMaxListeners = 32;
inline constexpr uint32_t kMaxPools = 32;
inline constexpr size_t kMaxNameBytes = 63;

// Supervisor. Times in milliseconds, 0 = off, sizes in bytes.
struct alignas(64) ListenerRow {
  Atomic<uint32_t> used;  // 1 after the rest was written
  Atomic<uint32_t> pool;
  Atomic<uint32_t> port;
  Atomic<uint32_t> closeInDoubt;         // crash_policy: 1 = close, 0 = continue
  Atomic<uint32_t> closeOnUpstreamLoss;  // upstream_loss: 1 = close, 0 = continue
  Atomic<uint32_t> routeByMessage;       // routing: 1 = message, 0 = session
  Atomic<uint32_t> idleTimeoutMs;
  Atomic<uint32_t> halfCloseTimeoutMs;
  Atomic<uint32_t> lingerTimeoutMs;
  Atomic<uint32_t> lingerGraceMs;
  Atomic<uint32_t> noUpstreamTimeoutMs;
  Atomic<uint32_t> slowClientGraceMs;
  Atomic<uint32_t> outputSoftBytes;
  Atomic<uint32_t> outputHardBytes;
  Atomic<uint32_t> inputWindowBytes;
  Atomic<uint32_t> keepaliveIdleS, keepaliveIntervalS, keepaliveCount;
  Atomic<uint32_t> userTimeoutMs;
  char name[kMaxNameBytes + 1];
};

struct alignas(64) PoolRow {
  Atomic<uint32_t> used;  // supervisor
  char name[kMaxNameBytes + 1];
  alignas(64) Atomic<uint64_t> roundRobin;  // forwarders: the next turn, over all of them
};

// Told to a supervisor that adopts the table in the middle of an operation.
// kArriving: of use only once the predecessor that its arguments name, if they do, is kLeaving. kRespawns: the last process in
// the row has died, and another one is to come.
enum class WorkerPlan : uint32_t { kStays = 0, kArriving = 1, kLeaving = 2, kRespawns = 3 };

// `life` tells who is in the row; the rest are figures of the row, kept over incarnations.
struct alignas(64) WorkerRow {
  // Supervisor.
  Atomic<uint64_t> incarnation;  // of the process in the row; 0: none. Changes only when the last one is dead
  Atomic<uint32_t> pid;
  Atomic<uint32_t> role;  // WorkerRole
  Atomic<uint32_t> ready;
  Atomic<uint32_t> restarts;
  Atomic<uint64_t> startedRealtimeMs;
  Atomic<uint32_t> plan;  // WorkerPlan: what an operation had in mind with the process in the row (minor 1)

  // The process in the row.
  alignas(64) Atomic<uint64_t> heartbeatMs;  // monotonic
  Atomic<uint64_t> sessions;                 // sessions held now (forwarder), descriptors held (custodian)
  Atomic<uint64_t> accepted, refused, handedOff;
  Atomic<uint64_t> bytesIn, bytesOut;                    // from clients, to clients
  alignas(64) Atomic<uint64_t> messagesIn, messagesOut;  // payloads to upstreams, replies from upstreams
  Atomic<uint64_t> broadcasts, broadcastCopies;
  Atomic<uint64_t> repliesUnknown, repliesMalformed;  // dropped: no such client, no usable target
  Atomic<uint64_t> streamFailures, sessionsMoved;
  alignas(64) Atomic<uint64_t> closed[kCloseReasonCapacity];
  Atomic<uint64_t> acceptPauses;  // acceptor: times it paused for want of descriptors or memory
  Atomic<uint64_t> inHand;        // forwarder: the session that its thread works on now (forwarder/in_hand.h)
  Atomic<uint64_t> inDoubt;  // forwarder: sessions that a crash or a lost upstream left in doubt (minor 1)
  Atomic<uint64_t> lastSigns[4];  // supervisor: of the last processes that died here (last_sign.h, minor 1)
  Atomic<uint64_t> readUpTo;  // forwarder: a LastSign of what its upstreams have sent (last_sign.h, minor 1)

  // Anybody who left a bit in the row's dirty set: 1 while a ring of the doorbell is under way.
  alignas(64) Atomic<uint32_t> doorbellRung;

  // Forwarder, once a minute (forwarder/custody_audit.h); from 0 in a table of a build without them.
  Atomic<uint64_t> custodyAudits, custodyMissing, custodyStale;
};

}  // namespace ppx
