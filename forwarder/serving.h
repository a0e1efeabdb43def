// What a forwarder has once the table is there. Only for forwarder*.cpp.
#pragma once

#include "forwarder/forwarder.h"
#include "forwarder/handover.h"
#include "forwarder/takeover_ledger.h"

namespace ppx {

struct Forwarder::Serving {
  Serving(Forwarder& forwarder, Table& table, Doorbells& doorbells);

  Table& table;
  Doorbells& doorbells;
  Journal journal;
  ReplyRouter router;
  std::unique_ptr<StreamPort> port;
  SessionSet sessions;
  UpstreamLinks links;
  Takeover takeover;
  TakeoverLedger ledger;
  Handover handover;
  CustodyAudit custodyAudit;
  std::vector<SlotRef> waitForSegments;
  uint32_t turn = 0;  // of the tick
  Millis sweepAt = 0;
  Millis auditAt = 0;
  bool custodyAuditDue = false;
  Millis leaveAt = 0;
};

}  // namespace ppx
