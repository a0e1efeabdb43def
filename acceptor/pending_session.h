// A client between accept and handoff.
#pragma once

#include "common/session_table.h"
#include "common/unique_fd.h"

namespace ppx {

struct PendingSession {
  UniqueFd socket;
  SlotRef ref;
  Uuid uuid;
  bool inCustody = false;
  uint8_t row = kWorkerRows;  // the slot says HANDOFF(row); kWorkerRows: still CLAIMED
};

}  // namespace ppx
