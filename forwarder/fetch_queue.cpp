#include "forwarder/fetch_queue.h"

#include <utility>

#include "common/clock.h"
#include "forwarder/by_traffic.h"

namespace ppx {
namespace {

constexpr size_t kMostUnderWay = 2 * custody::kMaxRecords;
// Nobody waits for sessions that were quiet for longer than kTalkingMs, and those whose clients do wait share the processor
// with them: they come in small turns.
constexpr size_t kMostQuietUnderWay = 64;
constexpr Millis kTalkingMs = 1000;

}  // namespace

void FetchQueue::add(std::span<const SlotRef> refs, WorkerId after) {
  for (const SlotRef& ref : refs) {
    Waiting& waiting = waiting_[ref.slot];
    if (std::exchange(waiting, {ref.generation, false}).asked) --underWay_;
    due_.push({lastTrafficMs(*table_, ref.slot), added_++, ref, after});
  }
  ask();
}

bool FetchQueue::answered(SlotRef ref) {
  auto found = waiting_.find(ref.slot);
  if (found == waiting_.end() || found->second.generation != ref.generation || !found->second.asked)
    return false;
  waiting_.erase(found);
  --underWay_;
  if (underWay_ <= kMostUnderWay - custody::kMaxRecords) ask();
  return true;
}

void FetchQueue::ask() {
  std::vector<custody::Record> records;
  WorkerId after;
  const auto recently = static_cast<uint64_t>(monotonicMillis() - kTalkingMs);
  const bool few = underWay_ <= kMostQuietUnderWay / 2;
  for (; !due_.empty(); due_.pop()) {
    const Due& next = due_.top();
    const size_t most = next.trafficMs >= recently ? kMostUnderWay : few ? kMostQuietUnderWay : 0;
    if (underWay_ >= most) break;
    auto found = waiting_.find(next.ref.slot);
    if (found == waiting_.end() || found->second.generation != next.ref.generation || found->second.asked)
      continue;
    if (records.size() == custody::kMaxRecords || next.after != after) flush(records, after);
    after = next.after;
    custody::Record record;
    record.slot = next.ref.slot;
    record.generation = next.ref.generation;
    records.push_back(record);
    found->second.asked = true;
    ++underWay_;
  }
  flush(records, after);
}

void FetchQueue::flush(std::vector<custody::Record>& records, WorkerId after) {
  if (!records.empty()) fetch_(records, after);
  records.clear();
}

}  // namespace ppx
