// The contract between the supervisor and its workers, whole. SEQPACKET on <runtime>/control.sock.
//
//   worker                            supervisor
//     | -- Hello (+ memfd if it has) --> |   first start, and adoption after a supervisor's death: the same path
//     | <-- Welcome (+ memfd, bells) --- |   or Reject (an unknown incarnation, another version): the worker exits
//     | <-- Listeners (+ sockets) ------ |   acceptors only; the whole list each time it changes
//     | -- Ready ----------------------> |   it serves; announced, never assumed
//     | -- UpstreamChanged ------------> |   prober: health; forwarder: a stream of a draining upstream ended
//     | <-- PeersChanged --------------- |   a forwarder or the custodian became ready or went: look at worker rows
//     | <-- WorkerDied ----------------- |   fenced: its pidfd says dead
//     | <-- Stop ----------------------- |   forwarder: end sessions; others: leave
//     | -- Stopping, then closes ------> |
//     | <-- HandOver ------------------- |   forwarder: sessions go to others, stream by stream (forwarder/handover.h)
//     | -- HandedOver -----------------> |   how far it is; with `leave` it then says Stopping and closes
//     | -- TookOver -------------------> |   forwarder: what it took from one predecessor, planned or dead
//     | <-- Renew ---------------------- |   custodian: become the program on disk, in the same process
//     | -- Renewed --------------------> |   it is the new program, which serves; or the old one, and why
//
// A successor's arguments name its predecessor, for the supervisor that may come next (WorkerPlan in common/rows.h).
// A planned handover from forwarder A to a new one B: B is started as the successor of A (arguments
// --successor-of ROW:INCARNATION), so that it opens no stream which A still has. Ready(B), then HandOver to A.
// B dies: WorkerDied tells A, which stops handing over and serves on with what it has; HandOver may be sent
// again. A dies: WorkerDied names B as the successor, and B takes what A still had, as after any crash. The
// same WorkerDied follows A's orderly end, for sessions that were ending or arriving just then.
//
// A custodian may be started by somebody else than the supervisor (paradox-custodian.service). Its first Hello has
// incarnation 0, which means: name me; the Welcome does. If it is rejected it ends with code 75, to be started anew.
//
// The worker redials for ever when the channel breaks, and serves on meanwhile. The supervisor opens a pidfd (of the
// peer's SO_PEERCRED pid) before it trusts a Hello. Heartbeats go through the worker's row in the table.
// Each message is one struct, which starts with the header; a message of another size, type or version is a broken
// peer: its channel is closed. The arguments of a worker: --runtime-dir DIR --row N --incarnation N.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/worker_role.h"

namespace ppx::control {

inline constexpr char kSocketName[] = "control.sock";
inline constexpr uint32_t kMagic = 0x43787070;  // "ppxC"
inline constexpr uint16_t kVersion = 1;

enum class Type : uint16_t {
  kHello = 1,
  kWelcome,
  kReject,
  kListeners,
  kReady,
  kUpstreamChanged,
  kPeersChanged,
  kWorkerDied,
  kStop,
  kStopping,
  kHandOver,
  kHandedOver,
  kTookOver,
  kRenew,
  kRenewed,
};

struct Header {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  Type type;
};

struct Hello {
  Header header{.type = Type::kHello};
  WorkerRole role = WorkerRole::kNone;
  uint8_t row = 0;
  uint8_t hasTable = 0;  // the memfd comes with it
  uint8_t ready = 0;     // it serves already: adoption
  uint32_t incarnation = 0;
  char build[32] = {};  // PPX_VERSION, for people
};

// Descriptors: the table's memfd, then kMaxForwarders doorbells, kMaxAcceptors doorbells, the prober's
// doorbell.
struct Welcome {
  Header header{.type = Type::kWelcome};
  uint32_t incarnation = 0;
  uint32_t logLevel = 2;  // spdlog's numbers: 0 trace .. 6 off
};
inline constexpr int kWelcomeDescriptors = 1 + kMaxForwarders + kMaxAcceptors + 1;

struct Reject {
  Header header{.type = Type::kReject};
  char reason[128] = {};
};

// Descriptors: `count` listening sockets; rows[i] is the listener row of the i-th.
struct Listeners {
  Header header{.type = Type::kListeners};
  uint32_t count = 0;
  uint8_t rows[32] = {};
};

struct Ready {
  Header header{.type = Type::kReady};
};

struct UpstreamChanged {
  Header header{.type = Type::kUpstreamChanged};
  uint32_t upstream = 0;
  uint32_t generation = 0;
};

struct PeersChanged {
  Header header{.type = Type::kPeersChanged};
};

struct WorkerDied {
  Header header{.type = Type::kWorkerDied};
  uint32_t row = 0;
  uint32_t incarnation = 0;
  uint32_t successorRow = 0;  // for a forwarder: who takes its sessions over; kWorkerRows: nobody yet
};

struct Stop {
  Header header{.type = Type::kStop};
  uint32_t deadlineMs = 0;  // from now: then it is killed
};

struct Stopping {
  Header header{.type = Type::kStopping};
};

inline constexpr uint32_t kAllSessions = 0xffffffff;

// A later one replaces an earlier; `id` 0: stop handing over, serve on with what is there.
struct HandOver {
  Header header{.type = Type::kHandOver};
  uint32_t id = 0;
  uint32_t sessions = kAllSessions;  // so many, in even parts of each stream; kAllSessions: every one
  uint8_t leave = 0;                 // with kAllSessions: then leave
  uint8_t targets = 0;
  uint8_t rows[kMaxForwarders] = {};  // forwarders that get them in turn
  uint32_t incarnations[kMaxForwarders] = {};
};

// Sent when a figure has changed, at most ten times a second, and at the end. Figures since HandOver `id`.
struct HandedOver {
  enum class State : uint8_t { kRunning = 0, kDone = 1, kStopped = 2 };  // kStopped: a target died
  Header header{.type = Type::kHandedOver};
  uint32_t id = 0;
  State state = State::kRunning;
  uint8_t reserved[3] = {};
  uint32_t moved = 0;
  uint32_t remaining = 0;    // still to be moved
  uint32_t streamsLeft = 0;  // upstream streams not yet ended
  uint32_t lingering = 0;    // of those, streams that outlived barrier_timeout: they deliver replies still
  uint32_t inDoubt = 0;      // sessions whose bytes on a stream nobody can prove: it broke, or never ended
};

// Stalls in microseconds, two buckets a power of two: 2p from 2^p, 2p+1 from 1.5 * 2^p on.
inline constexpr uint32_t kStallBuckets = 56;

// Figures of all that was taken from one predecessor so far, sent when they change, at most ten times a
// second, and when nothing is waited for any more.
struct TookOver {
  Header header{.type = Type::kTookOver};
  uint32_t fromRow = 0;
  uint32_t fromIncarnation = 0;
  uint8_t planned = 0;  // 1: handed over; 0: its owner had died
  uint8_t reserved[3] = {};
  uint32_t sessions = 0;    // taken and serving
  uint32_t waiting = 0;     // taken, their descriptors are on the way
  uint32_t closed = 0;      // ended by the take-over: in doubt, reset, poison, custody lost
  uint32_t inDoubt = 0;     // with traffic within doubt_window before the crash, closed or not
  uint32_t mismatches = 0;  // planned: stored offsets were not the kernel's
  uint64_t inputBytes = 0;  // carried over in the journal, not yet passed on
  uint64_t outputBytes = 0;
  uint64_t maxStallUs = 0;
  uint32_t stalls[kStallBuckets] = {};  // planned: from the last chance to submit until the next
  // Crash: from the news of the death until all slots were claimed, all descriptors were here, all served.
  uint32_t claimUs = 0;
  uint32_t descriptorsUs = 0;
  uint32_t servedUs = 0;
  uint32_t reconcileUs = 0;  // of that, spent on asking the kernel and rebuilding windows, in all
  uint64_t newsUs = 0;       // CLOCK_MONOTONIC at that news
};

// The custodian's, supervisor/custodian/renewal.h. The new program dials anew, says Hello and Ready, then this.
struct Renew {
  Header header{.type = Type::kRenew};
};

struct Renewed {
  Header header{.type = Type::kRenewed};
  uint8_t done = 0;  // 0: it goes on as the program that it was
  char reason[183] = {};
};

static_assert(std::is_trivially_copyable_v<HandOver> && std::is_trivially_copyable_v<TookOver>);
static_assert(std::is_trivially_copyable_v<Hello> && std::is_trivially_copyable_v<Listeners>);

}  // namespace ppx::control
