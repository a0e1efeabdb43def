// UpstreamLinks: streams that are half-closed, because their upstream is deleted or their sessions are handed over.
#include "common/clock.h"
#include "common/log.h"
#include "forwarder/upstream_links.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
// A predecessor that never gives its streams up: its handover was stopped, or it hangs and nobody has noticed.
constexpr Millis kFollowMs = 60'000;

}  // namespace

bool UpstreamLinks::isDeleted(uint32_t upstream) const {
  uint64_t life = table_->upstream(upstream).life.load();
  return lifeState<UpstreamLife>(life) != UpstreamLife::kActive ||
         lifeGeneration(life) != links_[upstream].generation;
}

void UpstreamLinks::halfClose(uint32_t upstream) {
  Link& link = links_[upstream];
  enter(upstream, State::kDraining);
  clearWaiting(link);  // nothing more goes there; who waited is pumped again once it has moved
  StreamId stream = link.stream;
  for (const SlotRef& ref : port_->halfClose(stream))
    if (Session* session = sessions_->find(ref)) session->takenBack(stream);
}

bool UpstreamLinks::quiesce(uint32_t upstream) {
  Link& link = links_[upstream];
  link.held = true;
  switch (link.state) {
    case State::kNone:
      return false;
    case State::kBackoff:
      enter(upstream, State::kNone);
      return false;
    case State::kConnecting:
    case State::kOpen:
      halfClose(upstream);
      return true;
    case State::kDraining:
      return true;
  }
  return false;
}

void UpstreamLinks::reopen(uint32_t upstream) {
  Link& link = links_[upstream];
  if (!link.held) return;
  link.held = false;
  if (link.state != State::kNone) return;  // it still drains: its end opens the next
  syncOne(upstream);
  assignWaiting();
}

void UpstreamLinks::reopenAll() {
  for (uint32_t upstream = 0; upstream < links_.size(); ++upstream) reopen(upstream);
}

void UpstreamLinks::onDrained(uint32_t upstream, bool proven) {
  Link& link = links_[upstream];
  letGo(link);
  const bool deleted = isDeleted(upstream);
  if (deleted && !link.held && !link.moved) moveSessions(upstream, !proven);
  enter(upstream, State::kNone);
  if (deleted) ended_(upstream, link.generation);
  if (link.held)
    quiet_(upstream, proven);
  else if (!deleted)
    syncOne(upstream);
}

// It is half-closed and stays so; what the upstream still sends is delivered.
void UpstreamLinks::linger(uint32_t upstream) {
  Link& link = links_[upstream];
  lingering_.push_back({link.stream, upstream, link.since});
  onDrained(upstream, false);
}

void UpstreamLinks::tickDraining(uint32_t upstream, Millis now) {
  const TableHeader& header = table_->header();
  Link& link = links_[upstream];
  if (!link.moved && now - link.since >= header.barrierTimeoutMs.load(kRelaxed)) {
    logWarn("upstream_lingers", {{"upstream", name(upstream)}},
            "upstream {} still reads after barrier_timeout: its sessions move anyway", name(upstream));
    if (link.held || !isDeleted(upstream)) return linger(upstream);
    link.moved = true;
    noteUnproven(upstream, link.since);
    moveSessions(upstream, false);
  }
  if (now - link.since >= header.drainMaxMs.load(kRelaxed)) port_->cancel(link.stream);
}

void UpstreamLinks::tickLingering(Millis now) {
  for (const Lingering& each : lingering_)
    if (now - each.since >= table_->header().drainMaxMs.load(kRelaxed)) port_->cancel(each.stream);
}

void UpstreamLinks::follow(WorkerId predecessor) {
  predecessor_ = predecessor;
  followUntil_ = monotonicMillis() + kFollowMs;
}

bool UpstreamLinks::followsThere(uint32_t upstream) {
  if (!predecessor_) return false;
  const auto incarnation = static_cast<uint32_t>(table_->worker(predecessor_->row).incarnation.load());
  if ((incarnation & kIncarnationMask) != predecessor_->incarnation || monotonicMillis() >= followUntil_) {
    predecessor_.reset();
    return false;
  }
  const UpstreamSlot& slot = table_->upstream(upstream);
  uint64_t stream = slot.streams[predecessor_->row].load();
  if (lifeGeneration(stream) != lifeGeneration(slot.life.load()) ||
      lifeState<StreamState>(stream) == StreamState::kNone)
    return false;
  waitsForPredecessor_ = true;
  return true;
}

uint32_t UpstreamLinks::streams() const {
  uint32_t count = 0;
  for (const Link& link : links_) count += link.stream != 0 ? 1 : 0;
  return count;
}

bool UpstreamLinks::flows(const Session& session) const {
  if (session.phase() != SessionPhase::kOpen) return true;
  if (session.settings().routeByMessage.load(kRelaxed) != 0) return session.waitingSince() == 0;
  const uint32_t upstream = session.upstream();
  return upstream < links_.size() && links_[upstream].state == State::kOpen;
}

}  // namespace ppx
