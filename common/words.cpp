#include "common/slot_word.h"
#include "common/worker_role.h"

namespace ppx {

const char* slotStateName(SlotState state) {
  switch (state) {
    case SlotState::kFree:
      return "free";
    case SlotState::kClaimed:
      return "claimed";
    case SlotState::kHandoff:
      return "handoff";
    case SlotState::kOwned:
      return "owned";
    case SlotState::kClosing:
      return "closing";
  }
  return "unknown";
}

const char* workerRoleName(WorkerRole role) {
  switch (role) {
    case WorkerRole::kNone:
      return "none";
    case WorkerRole::kForwarder:
      return "forwarder";
    case WorkerRole::kAcceptor:
      return "acceptor";
    case WorkerRole::kProber:
      return "prober";
    case WorkerRole::kCustodian:
      return "custodian";
  }
  return "unknown";
}

}  // namespace ppx
