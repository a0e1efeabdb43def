// The worker processes and their rows in the table. A row outlives the process in it: a successor takes the
// row.
#pragma once

#include <cstdint>

namespace ppx {

enum class WorkerRole : uint8_t { kNone = 0, kForwarder = 1, kAcceptor = 2, kProber = 3, kCustodian = 4 };

inline constexpr uint8_t kFirstForwarderRow = 0;
inline constexpr uint8_t kMaxForwarders = 32;
inline constexpr uint8_t kFirstAcceptorRow = 32;
inline constexpr uint8_t kMaxAcceptors = 16;
inline constexpr uint8_t kProberRow = 48;
inline constexpr uint8_t kCustodianRow = 49;
inline constexpr uint8_t kWorkerRows = 64;

const char* workerRoleName(WorkerRole role);

}  // namespace ppx
