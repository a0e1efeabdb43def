#include "forwarder/takeover_ledger.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/clock.h"

namespace ppx {
namespace {

constexpr size_t kMostSources = 64;  // predecessors; a forwarder that lives long forgets the finished ones

}  // namespace

// Two a power of two: [2^(i/2), 2^((i+1)/2)), the odd ones from 1.5 times on.
uint32_t TakeoverLedger::stallBucket(uint64_t microseconds) {
  if (microseconds < 2) return 0;
  const auto power = static_cast<uint32_t>(std::bit_width(microseconds) - 1);
  const bool upper = microseconds >= (uint64_t{3} << (power - 1));
  return std::min(2 * power + (upper ? 1 : 0), control::kStallBuckets - 1);
}

size_t TakeoverLedger::sourceOf(WorkerId from, bool planned) {
  for (size_t i = 0; i < sources_.size(); ++i) {
    const control::TookOver& figures = sources_[i].figures;
    if (figures.fromRow == from.row && figures.fromIncarnation == from.incarnation &&
        (figures.planned != 0) == planned)
      return i;
  }
  if (sources_.size() >= kMostSources && waiting_.empty() && stalled_.empty()) {
    tick();
    sources_.clear();
  }
  Source source;
  source.figures.fromRow = from.row;
  source.figures.fromIncarnation = from.incarnation;
  source.figures.planned = planned ? 1 : 0;
  source.sinceUs = source.figures.newsUs = monotonicMicros();
  sources_.push_back(source);
  return sources_.size() - 1;
}

void TakeoverLedger::expect(SlotRef ref, WorkerId from, bool planned) {
  const size_t index = sourceOf(from, planned);
  if (!waiting_.try_emplace(ref.slot, index).second) return;
  Source& source = sources_[index];
  ++source.figures.waiting;
  source.figures.claimUs = static_cast<uint32_t>(monotonicMicros() - source.sinceUs);
  source.changed = true;
}

TakeoverLedger::Source* TakeoverLedger::arrived(SlotRef ref) {
  auto found = waiting_.find(ref.slot);
  if (found == waiting_.end()) return nullptr;
  Source& source = sources_[found->second];
  waiting_.erase(found);
  --source.figures.waiting;
  source.changed = true;
  return &source;
}

void TakeoverLedger::taken(SlotRef ref, const Taken& session) {
  Source* source = arrived(ref);
  if (source == nullptr) return;
  control::TookOver& figures = source->figures;
  figures.closed += session.closed ? 1 : 0;
  figures.inDoubt += session.inDoubt ? 1 : 0;
  figures.mismatches += session.mismatch ? 1 : 0;
  figures.inputBytes += session.inputBytes;
  figures.outputBytes += session.outputBytes;
  figures.reconcileUs += session.reconcileUs;
  if (!session.closed) {
    ++figures.sessions;
    ++source->stalled;
    stalled_.push_back({ref, session.quietSinceUs != 0 ? session.quietSinceUs : source->sinceUs,
                        static_cast<size_t>(source - sources_.data())});
  }
  noteProgress(*source);
}

void TakeoverLedger::lost(SlotRef ref) {
  if (Source* source = arrived(ref)) {
    ++source->figures.closed;
    noteProgress(*source);
  }
}

void TakeoverLedger::notOurs(SlotRef ref) {
  if (Source* source = arrived(ref)) noteProgress(*source);
}

void TakeoverLedger::noteProgress(Source& source) {
  const auto elapsed = static_cast<uint32_t>(std::max<uint64_t>(1, monotonicMicros() - source.sinceUs));
  if (source.figures.waiting != 0) return;
  if (source.figures.descriptorsUs == 0) source.figures.descriptorsUs = elapsed;
  if (source.stalled == 0) source.figures.servedUs = elapsed;
}

void TakeoverLedger::look() {
  if (stalled_.empty()) return;
  const uint64_t now = monotonicMicros();
  std::erase_if(stalled_, [&](const Stalled& each) {
    if (!flows_(each.ref)) return false;
    Source& source = sources_[each.source];
    const uint64_t stall = now > each.sinceUs ? now - each.sinceUs : 0;
    ++source.figures.stalls[stallBucket(stall)];
    source.figures.maxStallUs = std::max(source.figures.maxStallUs, stall);
    --source.stalled;
    source.changed = true;
    noteProgress(source);
    return true;
  });
  // Whoever waits for the end of a move hears of it before its giver has left.
  for (Source& source : sources_)
    if (source.stalled == 0 && source.figures.waiting == 0) report(source);
}

void TakeoverLedger::tick() {
  for (Source& source : sources_) report(source);
}

void TakeoverLedger::report(Source& source) {
  if (std::exchange(source.changed, false)) send_(source.figures);
}

}  // namespace ppx
