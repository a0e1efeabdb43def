#include "forwarder/fetch_queue.h"

#include <utility>

#include "forwarder/by_traffic.h"

namespace ppx {
namespace {

constexpr size_t kMostUnderWay = 2 * custody::kMaxRecords;

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
  for (; !due_.empty() && underWay_ < kMostUnderWay; due_.pop()) {
    const Due& next = due_.top();
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
