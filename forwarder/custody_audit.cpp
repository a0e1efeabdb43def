#include "forwarder/custody_audit.h"

#include <algorithm>

#include "common/log.h"

namespace ppx {
namespace {

using custody::Record;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kTold = 16;  // by name, in one audit

// Generations wrap: the nearer way round decides.
bool isPast(uint32_t generation, uint32_t current) {
  const uint32_t ahead = (current - generation) & kGenerationMask;
  return ahead != 0 && ahead <= kGenerationMask / 2;
}

SlotRef refOf(const Record& record) {
  return {record.slot, record.generation};
}

}  // namespace

bool CustodyAudit::begin(Millis now, bool dropsStale) {
  if (!idle() || !handlers_.list()) return false;
  step_ = Step::kListing;
  begunAt_ = now;
  dropsStale_ = dropsStale;
  found_ = {};
  expected_.assign(table_->sizes().sessionSlots, false);
  for (uint32_t slot = 0; slot < table_->header().sessionHighWater.load(); ++slot)
    expected_[slot] = servedLong(slot).has_value();
  cursor_ = 0;
  stale_.clear();
  asked_.clear();
  putting_.clear();
  return true;
}

// Of a session that came later the acceptor's put may be still on its way.
std::optional<SlotRef> CustodyAudit::servedLong(uint32_t slot) const {
  auto ref = handlers_.served(slot);
  if (!ref) return std::nullopt;
  const auto accepted = static_cast<Millis>(table_->session(slot).acceptedMs.load(kRelaxed));
  return begunAt_ - accepted >= kPatienceMs ? ref : std::nullopt;
}

void CustodyAudit::onListed(std::span<const Record> records) {
  if (step_ != Step::kListing) return;
  if (records.empty()) return askNext();
  found_.listed += records.size();
  for (const Record& record : records) {
    if (record.kind != custody::Kind::kSession || record.slot >= expected_.size()) continue;
    if (expected_[record.slot] && handlers_.served(record.slot) == refOf(record))
      expected_[record.slot] = false;
    if (dropsStale_ && !handlers_.awaited(record.slot) &&
        isPast(record.generation, SessionTable(*table_).word(record.slot).generation))
      stale_.push_back(record);
  }
}

// A message's worth of suspects, or the end.
void CustodyAudit::askNext() {
  step_ = Step::kAsking;
  for (; !stale_.empty() && asked_.size() < custody::kMaxRecords; stale_.pop_back())
    asked_.push_back({stale_.back(), true});
  for (; cursor_ < expected_.size() && asked_.size() < custody::kMaxRecords; ++cursor_) {
    if (!expected_[cursor_]) continue;
    auto ref = servedLong(cursor_);
    if (!ref) continue;
    Record record;
    record.slot = ref->slot;
    record.generation = ref->generation;
    const Uuid uuid = SessionTable(*table_).uuid(ref->slot);
    record.uuidHigh = uuid.high;
    record.uuidLow = uuid.low;
    asked_.push_back({record, false});
  }
  if (asked_.empty()) return finish(monotonicMillis());
  std::vector<Record> records;
  for (const Suspect& each : asked_) records.push_back(each.record);
  handlers_.fetch(records);
}

void CustodyAudit::onAnswer(SlotRef ref, bool held) {
  if (step_ != Step::kAsking) return;
  auto found = std::find_if(asked_.begin(), asked_.end(),
                            [&](const Suspect& each) { return refOf(each.record) == ref; });
  if (found == asked_.end()) return;
  const Suspect suspect = *found;
  asked_.erase(found);
  if (suspect.stale && held) {
    handlers_.drop(suspect.record);
    ++found_.stale;
    tell(suspect.record, "stale");
    figures_->custodyStale.fetch_add(1, kRelaxed);
  }
  if (!suspect.stale && !held) putting_.push_back(ref);
  if (asked_.empty()) putMissing();
}

void CustodyAudit::putMissing() {
  std::erase_if(putting_, [this](SlotRef ref) { return handlers_.served(ref.slot) != ref; });
  if (putting_.empty()) return askNext();
  step_ = Step::kPutting;
  putSent_ = handlers_.put(putting_);
}

void CustodyAudit::onPutDone(std::span<const Record> records) {
  if (step_ != Step::kPutting || !putSent_) return;
  for (const Record& record : records) {
    if (record.kind != custody::Kind::kSession || std::erase(putting_, refOf(record)) == 0) continue;
    if (record.failed != 0) {
      ++found_.refused;
      continue;
    }
    ++found_.missing;
    tell(record, "missing");
    figures_->custodyMissing.fetch_add(1, kRelaxed);
  }
  if (putting_.empty()) askNext();
}

void CustodyAudit::tell(const Record& record, const char* kind) {
  if (found_.missing + found_.stale > kTold) return;
  const Uuid uuid{record.uuidHigh, record.uuidLow};
  logWarn("custody_repaired",
          {{"session", uuid}, {"slot", record.slot}, {"generation", record.generation}, {"kind", kind}},
          "custody: the descriptor of session {} (slot {}, generation {}) was {}", uuid, record.slot,
          record.generation, kind);
}

void CustodyAudit::finish(Millis now) {
  step_ = Step::kIdle;
  figures_->custodyAudits.fetch_add(1, kRelaxed);
  logEvent(found_.missing + found_.refused + found_.stale == 0 ? LogAt::debug : LogAt::warn, "custody_audit",
           {{"listed", found_.listed},
            {"missing", found_.missing},
            {"refused", found_.refused},
            {"stale", found_.stale},
            {"milliseconds", now - begunAt_}},
           "custody: of {} descriptors listed {} were stale and are dropped; {} were missing and are put "
           "again, {} "
           "more it could not hold; this took {} ms",
           found_.listed, found_.stale, found_.missing, found_.refused, now - begunAt_);
}

void CustodyAudit::tick(Millis now) {
  if (idle()) return;
  if (now - begunAt_ >= kDeadlineMs) {
    logWarn("custody_audit_late",
            {{"listed", found_.listed}, {"unanswered", asked_.size() + putting_.size()}},
            "custody: the custodian did not answer within {} ms; it is asked again in a minute", kDeadlineMs);
    return onBroken();
  }
  if (step_ == Step::kPutting && !putSent_) putMissing();
}

void CustodyAudit::onBroken() {
  step_ = Step::kIdle;
}

}  // namespace ppx
