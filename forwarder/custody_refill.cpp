#include "forwarder/custody_refill.h"

#include <array>

#include "common/failpoint.h"
#include "common/log.h"

namespace ppx {
namespace {

// Longer than a handoff travels; what takes longer is fetched from custody, and found missing there.
constexpr Millis kDoubtMs = 5000;
constexpr size_t kBatch = custody::kMaxRecords;

}  // namespace

void CustodyRefill::onConnected(bool connected, const SessionSet* sessions) {
  if (!connected) return;
  doubtUntil_ = monotonicMillis() + kDoubtMs;
  if (sessions == nullptr) return;
  waiting_.clear();
  next_ = 0;
  sessions->forEach([this](Session& session) { waiting_.push_back(session.ref()); });
  if (!waiting_.empty())
    logInfo("custody_refill", {{"sessions", waiting_.size()}}, "giving {} sessions to a new custodian",
            waiting_.size());
  goOn(*sessions);
}

void CustodyRefill::goOn(const SessionSet& sessions) {
  while (next_ < waiting_.size() && custody_->canPut(kBatch)) {
    std::array<custody::Record, kBatch> records;
    std::array<int, kBatch> descriptors;
    size_t count = 0, next = next_;
    for (; next < waiting_.size() && count < kBatch; ++next) {
      Session* session = sessions.find(waiting_[next]);
      if (session == nullptr || session->phase() >= SessionPhase::kDropping) continue;
      records[count] = session->custodyRecord();
      descriptors[count++] = session->descriptor();
    }
    if (count > 0 && !custody_->put({records.data(), count}, {descriptors.data(), count})) return;
    failpoint("custody.refilled");
    next_ = next;
  }
  if (complete()) waiting_ = {};
  if (waiting_.empty()) next_ = 0;
}

void CustodyRefill::onServed(Session& session) {
  // Not connected: the refill that comes with the next custodian has it.
  if (!custody_->connected() || monotonicMillis() >= doubtUntil_ ||
      session.phase() >= SessionPhase::kDropping)
    return;
  custody::Record record = session.custodyRecord();
  int descriptor = session.descriptor();
  if (!custody_->put({&record, 1}, {&descriptor, 1})) waiting_.push_back(session.ref());
}

}  // namespace ppx
