// The audit of custody while sessions come and go at random.
#include <cstdlib>
#include <deque>
#include <random>

#include "tests/forwarder/custody_audit_bench.h"

namespace ppx::testing {
namespace {

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
    SlotRef ref = ppx::testing::owned(table_);
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
  // Nobody comes or goes; all that is on its way arrives, and whoever is here is old enough to be judged.
  void settle() {
    while (!fromAcceptor_.empty()) deliver(fromAcceptor_);
    clock_ += CustodyAudit::kPatienceMs;
    size_t begun = 0;
    for (int i = 0; i < 10'000 && (begun < 4 || !audit_.idle()); ++i) {
      say(), deliver(fromUs_), listOn(), receiveList();
      audit_.tick(clock_);
      if (begun < 4 && fromUs_.empty() && audit_.begin(clock_, true)) {
        ++begun;
        fromUs_.push_back({OnItsWay::kList, {}, clock_});
      }
    }
    EXPECT_TRUE(audit_.idle());
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
  EXPECT_LE(missing() + stale(), 40u) << "a session may end, or its slot be put again, before it is mended";
  losePuts_ = loseDrops_ = 0;
  for (int i = 0; i < 50; ++i) go();  // so that there are free slots that had a life
  settle();
  EXPECT_EQ(held_, served_);

  const uint64_t missingBefore = missing(), staleBefore = stale();
  ASSERT_GE(live_.size(), 5u);
  for (size_t i = 0; i < 5; ++i) held_.erase(live_[i].ref.slot);
  int planted = 0;
  for (uint32_t slot = 0; slot < kAuditSizes.sessionSlots && planted < 5; ++slot) {
    const SlotWord word = SessionTable(table_).word(slot);
    if (word.state != SlotState::kFree || word.generation == 0) continue;
    held_[slot] = word.generation - 1;
    ++planted;
  }
  settle();
  EXPECT_EQ(held_, served_);
  EXPECT_EQ(missing() - missingBefore, 5u);
  EXPECT_EQ(stale() - staleBefore, 5u);
}

}  // namespace
}  // namespace ppx::testing
