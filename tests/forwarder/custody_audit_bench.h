// The audit of custody against a custodian and an owner of sessions that are played here, with a real table.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "forwarder/custody_audit.h"
#include "tests/common/table_testing.h"

namespace ppx::testing {

using custody::Record;

inline constexpr TableSizes kAuditSizes{
    .sessionSlots = 1000, .inSegments = 64, .outSegments = 64, .upstreamSlots = 1};

inline Record recordOf(SlotRef ref) {
  Record record;
  record.slot = ref.slot;
  record.generation = ref.generation;
  return record;
}

// Sessions of one forwarder, and what a custodian would hold of them.
class AuditOfCustody : public ::testing::Test {
 protected:
  CustodyAudit::Handlers handlers() {
    CustodyAudit::Handlers out;
    out.list = [this] { return std::exchange(listAsked_, true) == false; };
    out.served = [this](uint32_t slot) -> std::optional<SlotRef> {
      auto found = served_.find(slot);
      return found == served_.end() ? std::nullopt : std::optional(SlotRef{slot, found->second});
    };
    out.awaited = [this](uint32_t slot) { return awaited_.contains(slot); };
    out.fetch = [this](std::span<const Record> records) {
      EXPECT_LE(records.size(), custody::kMaxRecords);
      fetched_.insert(fetched_.end(), records.begin(), records.end());
    };
    out.put = [this](std::span<const SlotRef> refs) {
      if (full_) return false;
      EXPECT_LE(refs.size(), custody::kMaxRecords);
      puts_.insert(puts_.end(), refs.begin(), refs.end());
      return true;
    };
    out.drop = [this](const Record& record) { drops_.push_back({record.slot, record.generation}); };
    return out;
  }

  // A session that has been served here for `age`.
  SlotRef session(Millis age = 60'000, bool inCustody = true) {
    SlotRef ref = owned(table_);
    table_.session(ref.slot).acceptedMs.store(static_cast<uint64_t>(now_ - age));
    served_[ref.slot] = ref.generation;
    if (inCustody) held_[ref.slot] = ref.generation;
    return ref;
  }
  // Its slot is free and in its next generation.
  void end(SlotRef ref, bool dropped = true) {
    served_.erase(ref.slot);
    if (dropped) held_.erase(ref.slot);
    SessionTable sessions(table_);
    ASSERT_TRUE(sessions.beginClosing(ref, kForwarder, CloseReason::kAdmin));
    ASSERT_TRUE(sessions.release(ref, kForwarder));
  }
  void begin(bool dropsStale = true) {
    ASSERT_TRUE(audit_.begin(now_, dropsStale));
    ASSERT_TRUE(listAsked_);
  }
  void list() {
    std::vector<Record> records;
    for (const auto& [slot, generation] : held_) records.push_back(recordOf({slot, generation}));
    if (!records.empty()) audit_.onListed(records);
    endList();
  }
  void endList() {
    listAsked_ = false;
    audit_.onListed({});
  }
  void answer() {
    for (auto waiting = std::exchange(fetched_, {}); const Record& record : waiting) {
      auto found = held_.find(record.slot);
      audit_.onAnswer({record.slot, record.generation},
                      found != held_.end() && found->second == record.generation);
    }
  }
  void putDone(bool failed = false) {
    std::vector<Record> records;
    for (SlotRef ref : std::exchange(puts_, {})) {
      records.push_back(recordOf(ref));
      records.back().failed = failed ? 1 : 0;
      if (!failed) held_[ref.slot] = ref.generation;
    }
    audit_.onPutDone(records);
  }
  uint64_t missing() { return row().custodyMissing.load(); }
  uint64_t stale() { return row().custodyStale.load(); }
  WorkerRow& row() { return table_.worker(kForwarder.row); }

  const Millis now_ = monotonicMillis();
  Table table_ = smallTable(kAuditSizes);
  std::map<uint32_t, uint32_t> served_, held_;  // slot -> generation
  std::set<uint32_t> awaited_;
  bool listAsked_ = false;
  bool full_ = false;
  std::vector<Record> fetched_;
  std::vector<SlotRef> puts_, drops_;
  CustodyAudit audit_{table_, table_.worker(kForwarder.row), handlers()};
};

}  // namespace ppx::testing
