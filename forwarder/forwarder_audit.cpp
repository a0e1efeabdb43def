// Forwarder: what it looks after each second and each minute.
#include "common/failpoint.h"
#include "common/log.h"
#include "forwarder/serving.h"

namespace ppx {
namespace {

constexpr Millis kSweepMs = 1000;
constexpr Millis kAuditMs = 60'000;

// Each row at its own time of the minute, whenever its process was started.
Millis nextAudit(Millis now, uint8_t row) {
  const Millis offset = row * kAuditMs / kMaxForwarders;
  return now + kAuditMs - (now + kAuditMs - offset) % kAuditMs;
}

}  // namespace

void Forwarder::maintain(Millis now) {
  Serving& s = *serving_;
  if (now >= s.sweepAt) {
    s.sweepAt = now + kSweepMs;
    s.takeover.sweepHandoffs(now);
    if (isFirstReady()) s.takeover.sweepOrphans(now);
  }
  auditCustody(now);
  if (s.auditAt == 0) s.auditAt = nextAudit(now, identity_.id.row);
  if (now < s.auditAt) return;
  s.auditAt = nextAudit(now, identity_.id.row);
  s.custodyAuditDue = true;
  uint32_t segments = s.journal.audit();
  uint32_t slots = SessionTable(s.table).repairHints();
  if (segments + slots > 0) spdlog::info("audit: {} segments and {} slots were found again", segments, slots);
}

// Not while sessions are on their way into custody, or out of it to us.
void Forwarder::auditCustody(Millis now) {
  Serving& s = *serving_;
  s.custodyAudit.tick(now);
  if (failpoint("custody.audit_due") != 0) s.custodyAuditDue = true;
  if (!s.custodyAuditDue || stopping_ || !refill_.complete() || !s.takeover.complete()) return;
  if (s.custodyAudit.begin(now, isFirstReady())) s.custodyAuditDue = false;
}

CustodyAudit::Handlers Forwarder::auditHandlers() {
  CustodyAudit::Handlers handlers;
  handlers.list = [this] { return custody_.list(); };
  handlers.served = [this](uint32_t slot) -> std::optional<SlotRef> {
    const Session* session = serving_->sessions.atSlot(slot);
    if (session == nullptr || session->phase() >= SessionPhase::kDropping) return std::nullopt;
    return session->ref();
  };
  handlers.awaited = [this](uint32_t slot) { return serving_->takeover.waits(slot); };
  handlers.fetch = [this](std::span<const custody::Record> records) { custody_.fetch(records, {}); };
  handlers.put = [this](std::span<const SlotRef> refs) {
    std::vector<custody::Record> records;
    std::vector<int> descriptors;
    for (const SlotRef& ref : refs) {
      Session* session = find(ref);
      records.push_back(session->custodyRecord());
      descriptors.push_back(session->descriptor());
    }
    return custody_.put(records, descriptors);
  };
  handlers.drop = [this](const custody::Record& record) { custody_.drop(record); };
  return handlers;
}

}  // namespace ppx
