// What was accepted and is not handed off yet: into custody, then to a forwarder.
#include <algorithm>

#include "acceptor/acceptor.h"
#include "common/failpoint.h"
#include "common/log.h"

namespace ppx {
namespace {

custody::Record custodyRecord(const PendingSession& session) {
  custody::Record record;
  record.slot = session.ref.slot;
  record.generation = session.ref.generation;
  record.uuidHigh = session.uuid.high;
  record.uuidLow = session.uuid.low;
  return record;
}

}  // namespace

// Takes what was accepted as far as it goes, and accepts again when it is all gone.
void Acceptor::progress() {
  if (!pending_.empty() && putPending()) {
    failpoint("acceptor.custody_put");
    handoff_.send(pending_);
  }
  if (!pending_.empty()) return pause(kPending);
  uint32_t over = kPending;
  if ((paused_ & kCustody) != 0 && custody_.canPut(kAcceptsATurn)) over |= kCustody;
  if ((paused_ & kForwarders) != 0 && handoff_.hasRoom()) over |= kForwarders;
  if ((paused_ & over) != 0) resume(over);
  leaveIfDone();
}

// The custodian reads a dead worker's channel to its end, so what is in the channel is in custody: no waiting
// for its answer. What comes too late for custody altogether is an acceptor killed before this.
bool Acceptor::putPending() {
  std::vector<custody::Record> records;
  std::vector<int> sockets;
  for (const PendingSession& session : pending_) {
    if (session.inCustody) continue;
    records.push_back(custodyRecord(session));
    sockets.push_back(session.socket.get());
  }
  if (records.empty()) return true;
  if (failpoint("sys.put") == 0 && !custody_.put(records, sockets)) return false;
  for (PendingSession& session : pending_) session.inCustody = true;
  return true;
}

// Into a new custodian what the last one may not have read. Whoever serves one by now puts it itself.
void Acceptor::putAgain() {
  for (PendingSession& session : pending_) {
    const SlotWord word = sessions_.word(session.ref.slot);
    const bool ours =
        session.row == kWorkerRows
            ? word == SlotWord{SlotState::kClaimed, self_.row, self_.incarnation, session.ref.generation}
            : word == SlotWord{SlotState::kHandoff, session.row, 0, session.ref.generation};
    if (ours) session.inCustody = false;
  }
}

void Acceptor::onPutDone(std::span<const custody::Record> records) {
  uint64_t failed = 0;
  for (const custody::Record& record : records) {
    if (record.failed == 0) continue;
    ++failed;
    if (refusePending({record.slot, record.generation})) continue;
    if (record.slot < table_.sizes().sessionSlots &&
        sessions_.requestClose({record.slot, record.generation}, CloseReason::kRefused)) {
      doorbells_.ringSlot(table_, record.slot);
      figures_.refused.fetch_add(1, std::memory_order_relaxed);  // its forwarder counts the close reason
    }
  }
  if (failed == 0) return;
  progress();
  if (auto times = custodyLog_.due())
    spdlog::error("the custodian is at its descriptor limit: {} sessions end ({} batches)", failed, times);
}

// One that is not a session for anybody else yet.
bool Acceptor::refusePending(SlotRef ref) {
  auto found = std::find_if(pending_.begin(), pending_.end(), [&](const PendingSession& session) {
    return session.ref == ref && session.row == kWorkerRows;
  });
  if (found == pending_.end()) return false;
  refuse(std::move(found->socket), ref, "the custodian is at its descriptor limit");
  pending_.erase(found);
  return true;
}

}  // namespace ppx
