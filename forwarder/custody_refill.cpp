#include "forwarder/custody_refill.h"

#include <array>

#include "common/failpoint.h"
#include "common/log.h"

namespace ppx {
namespace {

// A forwarder that lives sees within this that its custodian changed; what takes longer the audit finds.
constexpr Millis kDoubtMs = 5000;
constexpr size_t kBatch = custody::kMaxRecords;

}  // namespace

void CustodyRefill::onConnected(bool connected, const SessionSet* sessions) {
  if (!connected) return;
  isSuccessor_ = connectedAt_ != 0;
  connectedAt_ = monotonicMillis();
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
  const auto accepted = static_cast<Millis>(session.slot().acceptedMs.load(std::memory_order_relaxed));
  if (accepted <= connectedAt_) put(session);
}

void CustodyRefill::onMoved(Session& session) {
  if (isSuccessor_ && monotonicMillis() < connectedAt_ + kDoubtMs) put(session);
}

void CustodyRefill::put(Session& session) {
  // Not connected: the refill that comes with the next custodian has it.
  if (!custody_->connected() || session.phase() >= SessionPhase::kDropping) return;
  custody::Record record = session.custodyRecord();
  int descriptor = session.descriptor();
  if (!custody_->put({&record, 1}, {&descriptor, 1})) waiting_.push_back(session.ref());
}

}  // namespace ppx
