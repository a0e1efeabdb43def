// The audit of custody against a custodian and an owner of sessions that are played here, with a real table.
#include "forwarder/custody_audit.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using custody::Kind;
using custody::Record;
using testing::kAcceptor;
using testing::kForwarder;

constexpr TableSizes kSizes{.sessionSlots = 1000, .inSegments = 64, .outSegments = 64, .upstreamSlots = 1};

Record recordOf(SlotRef ref) {
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
    SlotRef ref = testing::owned(table_);
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
  Table table_ = testing::smallTable(kSizes);
  std::map<uint32_t, uint32_t> served_, held_;  // slot -> generation
  std::set<uint32_t> awaited_;
  bool listAsked_ = false;
  bool full_ = false;
  std::vector<Record> fetched_;
  std::vector<SlotRef> puts_, drops_;
  CustodyAudit audit_{table_, table_.worker(kForwarder.row), handlers()};
};

TEST_F(AuditOfCustody, AsksForNothingWhereNothingIsWrong) {
  for (int i = 0; i < 20; ++i) session();
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
  EXPECT_TRUE(audit_.idle());
  EXPECT_EQ(row().custodyAudits.load(), 1u);
  EXPECT_EQ(missing() + stale(), 0u);
}

TEST_F(AuditOfCustody, PutsWhatIsMissingAgainAndCountsIt) {
  session();
  SlotRef lost = session(60'000, false);
  begin();
  list();
  ASSERT_EQ(fetched_.size(), 1u);
  answer();
  ASSERT_EQ(puts_, std::vector<SlotRef>{lost});
  EXPECT_EQ(missing(), 0u) << "not held yet";
  putDone();
  EXPECT_EQ(missing(), 1u);
  EXPECT_TRUE(audit_.idle());
  begin();
  list();
  EXPECT_TRUE(audit_.idle()) << "it is in custody";
  EXPECT_EQ(missing(), 1u);
}

TEST_F(AuditOfCustody, OneWhoseAcceptorsPutMayBeOnItsWayIsLeftAlone) {
  session(CustodyAudit::kPatienceMs - 1, false);
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, OneThatCameAfterTheListWasAskedForIsLeftAlone) {
  begin();
  session(60'000, false);  // moved here from another forwarder
  list();
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, WhatCameIntoCustodySinceTheListIsNotPut) {
  SlotRef late = session(60'000, false);
  begin();
  list();
  held_[late.slot] = late.generation;
  answer();
  EXPECT_TRUE(puts_.empty());
  EXPECT_TRUE(audit_.idle());
  EXPECT_EQ(missing(), 0u);
}

TEST_F(AuditOfCustody, WhatEndedMeanwhileIsNotPut) {
  SlotRef first = session(60'000, false), second = session(60'000, false), third = session(60'000, false);
  begin();
  end(first);
  list();
  EXPECT_EQ(fetched_.size(), 2u);
  end(second);
  full_ = true;
  answer();
  end(third);
  full_ = false;
  audit_.tick(now_ + 100);
  EXPECT_TRUE(puts_.empty());
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, PutsAgainOnceTheChannelTakesIt) {
  SlotRef lost = session(60'000, false);
  full_ = true;
  begin();
  list();
  answer();
  EXPECT_TRUE(puts_.empty());
  full_ = false;
  audit_.tick(now_ + 100);
  EXPECT_EQ(puts_, std::vector<SlotRef>{lost});
  audit_.tick(now_ + 200);
  EXPECT_EQ(puts_.size(), 1u) << "once";
  putDone();
  EXPECT_EQ(missing(), 1u);
}

TEST_F(AuditOfCustody, WhatTheCustodianCannotHoldIsNotCountedAsRepaired) {
  session(60'000, false);
  begin();
  list();
  answer();
  putDone(true);
  EXPECT_EQ(missing(), 0u);
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, DropsACopyOfALifeThatIsOver) {
  SlotRef gone = session(), gone2 = session();
  session();
  end(gone, false);
  end(gone2, false);
  SlotRef next = testing::owned(table_);  // one of the slots is in use again
  EXPECT_EQ(next.slot, gone.slot);
  begin();
  list();
  EXPECT_EQ(fetched_.size(), 2u);
  answer();
  EXPECT_EQ(std::set<uint32_t>({drops_.at(0).slot, drops_.at(1).slot}),
            std::set<uint32_t>({gone.slot, gone2.slot}));
  EXPECT_EQ(drops_.at(0).generation, gone.generation);
  EXPECT_EQ(stale(), 2u);
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, OnlyOneForwarderDropsStaleCopies) {
  end(session(), false);
  begin(false);
  list();
  EXPECT_TRUE(fetched_.empty());
}

// It was listed, then dropped, released; then we look.
TEST_F(AuditOfCustody, ASessionThatEndsBehindTheListIsNotStale) {
  SlotRef ref = session();
  begin();
  Record listed[] = {recordOf(ref)};
  end(ref);
  audit_.onListed(listed);
  endList();
  answer();
  EXPECT_TRUE(drops_.empty());
  EXPECT_EQ(stale(), 0u);
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, NoStateOfTheLifeThatIsListedMakesItStale) {
  SessionTable sessions(table_);
  SlotRef claimed = testing::claimed(table_), handoff = testing::claimed(table_),
          owned = testing::owned(table_), closing = testing::owned(table_);
  ASSERT_TRUE(sessions.handoff(handoff, kAcceptor, 1));
  ASSERT_TRUE(sessions.beginClosing(closing, kForwarder, CloseReason::kAdmin));
  for (SlotRef ref : {claimed, handoff, owned, closing, SlotRef{500, 0}}) held_[ref.slot] = ref.generation;
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, WhatItDoesNotKnowIsLeftAlone) {
  SlotRef ref = session();
  begin();
  std::vector<Record> records{recordOf({ref.slot, ref.generation + 1}), recordOf({kSizes.sessionSlots, 0})};
  for (Kind kind : {Kind::kListener, Kind::kTable, Kind::kDoorbell}) {
    records.push_back(recordOf({900, kGenerationMask}));  // of a session it would be stale
    records.back().kind = kind;
  }
  records.push_back(recordOf(ref));
  audit_.onListed(records);
  endList();
  EXPECT_TRUE(fetched_.empty());
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, GenerationsWrap) {
  table_.session(7).word.store(SlotWord{SlotState::kFree, 0, 0, 2}.encode());
  table_.session(8).word.store(SlotWord{SlotState::kFree, 0, 0, kGenerationMask}.encode());
  begin();
  Record records[] = {recordOf({7, kGenerationMask - 1}), recordOf({8, 3})};
  audit_.onListed(records);
  endList();
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(fetched_[0].slot, 7u);
}

TEST_F(AuditOfCustody, ASlotWhoseDescriptorATakeoverWaitsForIsLeftAlone) {
  SlotRef ref = session();
  end(ref, false);
  awaited_.insert(ref.slot);
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, IsOverWithItsChannel) {
  session(60'000, false);
  begin();
  list();
  EXPECT_FALSE(audit_.begin(now_, true)) << "one at a time";
  audit_.onBroken();
  answer();
  EXPECT_TRUE(puts_.empty());
  begin();
  list();
  answer();
  EXPECT_EQ(puts_.size(), 1u);
}

TEST_F(AuditOfCustody, GivesUpOnACustodianThatDoesNotAnswer) {
  session(60'000, false);
  begin();
  audit_.tick(now_ + CustodyAudit::kDeadlineMs - 1);
  EXPECT_FALSE(audit_.idle());
  audit_.tick(now_ + CustodyAudit::kDeadlineMs);
  EXPECT_TRUE(audit_.idle());
  list();  // the rest of the list that nobody waits for
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, ManyFaultsAreMendedAMessageAtATime) {
  for (int i = 0; i < 600; ++i) session(60'000, false);
  std::vector<SlotRef> stale;
  for (int i = 0; i < 300; ++i) stale.push_back(session());
  for (SlotRef ref : stale) end(ref, false);
  begin();
  list();
  for (int i = 0; i < 10 && !audit_.idle(); ++i) {
    EXPECT_LE(fetched_.size(), custody::kMaxRecords);
    answer();
    if (!puts_.empty()) putDone();
  }
  EXPECT_TRUE(audit_.idle());
  EXPECT_EQ(missing(), 600u);
  EXPECT_EQ(this->stale(), 300u);
  EXPECT_EQ(drops_.size(), 300u);
}

// Sessions come and go at random while lists and answers travel, each channel in its own order: nothing is touched. Then
// puts and drops get lost: each is mended. PPX_SEED repeats a run.
class AuditInAStorm : public AuditOfCustody {
 protected:
  struct OnItsWay {
    enum What { kPut, kDrop, kList, kFetch } what;
    Record record;
    Millis since;
  };
  struct Live {
    SlotRef ref;
    Millis since;
    bool dropping = false;
  };

  Millis clock_ = now_;
  std::mt19937 random_;
  std::deque<OnItsWay> fromAcceptor_, fromUs_;
  std::vector<Live> live_;
  std::map<uint32_t, uint32_t> dropped_;  // the newest, by slot
  std::optional<uint32_t> listCursor_;
  size_t audits_ = 0;
  int losePuts_ = 0, loseDrops_ = 0;  // still to be lost
  size_t lostPuts_ = 0, lostDrops_ = 0;

  uint32_t below(uint32_t n) { return random_() % n; }

  void come() {
    if (live_.size() >= 200) return;
    SlotRef ref = testing::owned(table_);
    table_.session(ref.slot).acceptedMs.store(static_cast<uint64_t>(clock_));
    served_[ref.slot] = ref.generation;
    live_.push_back({ref, clock_});
    if (losePuts_ > 0 && below(20) == 0)
      --losePuts_, ++lostPuts_;
    else
      fromAcceptor_.push_back({OnItsWay::kPut, recordOf(ref), clock_});
  }
  void go() {
    if (live_.empty()) return;
    Live& each = live_[below(static_cast<uint32_t>(live_.size()))];
    if (each.dropping) return;
    each.dropping = true;
    served_.erase(each.ref.slot);
    if (loseDrops_ > 0 && held_.contains(each.ref.slot) && below(20) == 0) {
      --loseDrops_, ++lostDrops_;
      released(each.ref);  // who should have dropped it died
    } else {
      fromUs_.push_back({OnItsWay::kDrop, recordOf(each.ref), clock_});
    }
  }
  void released(SlotRef ref) {
    std::erase_if(live_, [&](const Live& each) { return each.ref == ref; });
    SessionTable sessions(table_);
    ASSERT_TRUE(sessions.beginClosing(ref, kForwarder, CloseReason::kAdmin));
    ASSERT_TRUE(sessions.release(ref, kForwarder));
  }
  void put(const Record& record) {
    auto dropped = dropped_.find(record.slot);
    if (dropped == dropped_.end() || dropped->second < record.generation)
      held_[record.slot] = record.generation;
  }
  void drop(const Record& record) {
    uint32_t& newest = dropped_[record.slot];
    newest = std::max(newest, record.generation);
    auto held = held_.find(record.slot);
    if (held != held_.end() && held->second <= record.generation) held_.erase(held);
  }
  // The custodian reads one message, and answers.
  void deliver(std::deque<OnItsWay>& channel) {
    if (channel.empty()) return;
    OnItsWay message = channel.front();
    channel.pop_front();
    const SlotRef ref{message.record.slot, message.record.generation};
    switch (message.what) {
      case OnItsWay::kPut:
        put(message.record);
        if (&channel == &fromUs_) audit_.onPutDone({&message.record, 1});
        break;
      case OnItsWay::kDrop:
        drop(message.record);
        for (const Live& each : live_)
          if (each.ref == ref) return released(ref);
        break;
      case OnItsWay::kList:
        listCursor_ = 0;
        break;
      case OnItsWay::kFetch: {
        auto held = held_.find(ref.slot);
        audit_.onAnswer(ref, held != held_.end() && held->second == ref.generation);
        break;
      }
    }
  }
  // Parts of it come while other things happen; what was read into it may be old when we look.
  std::deque<std::vector<Record>> parts_;
  void listOn() {
    if (!listCursor_) return;
    std::vector<Record> part;
    auto from = held_.lower_bound(*listCursor_);
    for (; from != held_.end() && part.size() < 7; ++from)
      part.push_back(recordOf({from->first, from->second}));
    if (part.empty())
      listCursor_.reset();
    else
      listCursor_ = part.back().slot + 1;
    parts_.push_back(std::move(part));
  }
  void receiveList() {
    if (parts_.empty()) return;
    std::vector<Record> part = std::move(parts_.front());
    parts_.pop_front();
    if (part.empty()) listAsked_ = false;
    audit_.onListed(part);
  }
  void say() {
    for (const Record& record : std::exchange(fetched_, {}))
      fromUs_.push_back({OnItsWay::kFetch, record, clock_});
    for (SlotRef ref : std::exchange(puts_, {})) fromUs_.push_back({OnItsWay::kPut, recordOf(ref), clock_});
    for (SlotRef ref : std::exchange(drops_, {})) fromUs_.push_back({OnItsWay::kDrop, recordOf(ref), clock_});
  }
  void step() {
    clock_ += below(50);
    // No channel stands still for as long as the audit is patient.
    while (!fromAcceptor_.empty() && clock_ - fromAcceptor_.front().since > CustodyAudit::kPatienceMs / 2)
      deliver(fromAcceptor_);
    switch (below(10)) {
      case 0:
      case 1:
        return come();
      case 2:
        return go();
      case 3:
        return deliver(fromAcceptor_);
      case 4:
      case 5:
        return deliver(fromUs_);
      case 6:
        return listOn();
      case 7:
        return receiveList();
      case 8:
        audit_.tick(clock_);
        return say();
      default:
        if (audit_.begin(clock_, true)) {
          ++audits_;
          fromUs_.push_back({OnItsWay::kList, {}, clock_});
        }
        return say();
    }
  }
  void run(int steps) {
    for (int i = 0; i < steps && !HasFatalFailure(); ++i) step();
  }
};

TEST_F(AuditInAStorm, TouchesNothingThatIsInOrderAndMendsAllThatIsNot) {
  const char* text = std::getenv("PPX_SEED");
  const unsigned seed = text == nullptr ? std::random_device()() : static_cast<unsigned>(std::atoi(text));
  std::printf("PPX_SEED=%u\n", seed);
  random_.seed(seed);
  run(100'000);
  EXPECT_GT(audits_, 100u);
  EXPECT_EQ(missing() + stale(), 0u);
  const size_t audits = audits_;
  losePuts_ = loseDrops_ = 20;
  run(100'000);
  EXPECT_GT(audits_, audits + 100);
  EXPECT_EQ(lostPuts_, 20u);
  EXPECT_EQ(lostDrops_, 20u);
  EXPECT_GT(missing(), 0u);
  EXPECT_GT(stale(), 0u);
  EXPECT_LE(missing() + stale(), 40u) << "a session may end, or its slot be put again, before it is mended";
  losePuts_ = loseDrops_ = 0;
  while (!live_.empty()) go(), deliver(fromUs_), deliver(fromAcceptor_), say();
  for (int i = 0; i < 100'000 && !held_.empty(); ++i) {
    clock_ += 10;
    deliver(fromUs_), deliver(fromAcceptor_), listOn(), receiveList();
    if (audit_.begin(clock_, true)) fromUs_.push_back({OnItsWay::kList, {}, clock_});
    audit_.tick(clock_), say();
  }
  EXPECT_TRUE(held_.empty()) << held_.size() << " copies of nobody are left";
}

}  // namespace
}  // namespace ppx
