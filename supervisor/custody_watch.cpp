#include "supervisor/custody_watch.h"

#include <chrono>

#include "common/control_protocol.h"
#include "common/log.h"
#include "common/session_table.h"

namespace ppx {
namespace {

constexpr std::chrono::milliseconds kLook{20};
// The table's memfd, the doorbells, and a descriptor for each row of listeners (custody_keeper.cpp).
constexpr uint64_t kOfTheSupervisor = 1 + (control::kWelcomeDescriptors - 1) + kMaxListeners;

}  // namespace

void CustodyWatch::lost() {
  // The dead one's figure would pass for its successor's.
  table_.worker(kCustodianRow).sessions.store(0);
  timer_.cancel();
  if (status_.incompleteSinceMs == 0) status_.incompleteSinceMs = monotonicMillis();
  changed_();
}

void CustodyWatch::filled() {
  // A former supervisor may have died while the custodian was filled.
  if (status_.incompleteSinceMs == 0 && !complete()) {
    status_.incompleteSinceMs = monotonicMillis();
    changed_();
  }
  if (status_.incompleteSinceMs != 0) look();
}

// A new custodian has no copy that is stale, so the number tells.
bool CustodyWatch::complete() const {
  const SessionTable sessions(table_);
  uint64_t wanted = kOfTheSupervisor;
  for (uint32_t slot = 0; slot < table_.header().sessionHighWater.load(); ++slot) {
    const SlotState state = sessions.word(slot).state;
    wanted += state == SlotState::kHandoff || state == SlotState::kOwned;
  }
  return table_.worker(kCustodianRow).sessions.load() >= wanted;
}

void CustodyWatch::look() {
  if (complete()) {
    const Millis took = monotonicMillis() - status_.incompleteSinceMs;
    status_.incompleteMs += took;
    status_.incompleteSinceMs = 0;
    spdlog::info("custody is complete again after {} ms", took);
    return changed_();
  }
  timer_.expires_after(kLook);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) look();
  });
}

}  // namespace ppx
