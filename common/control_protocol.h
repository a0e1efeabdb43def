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

static_assert(std::is_trivially_copyable_v<Hello> && std::is_trivially_copyable_v<Listeners>);

}  // namespace ppx::control
