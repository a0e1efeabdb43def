// UpstreamLinks: which upstream a session has, and what becomes of it when that one is lost.
#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "forwarder/upstream_links.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Millis kLongestQuestionMs = 5000;  // between two of the prober's (prober/probe_machine.h)

}  // namespace

void UpstreamLinks::assign(Session& session) {
  if (session.phase() != SessionPhase::kOpen) return;
  const SessionSlot& slot = session.slot();
  uint32_t pool = slot.pool.load(kRelaxed);
  if (session.settings().routeByMessage.load(kRelaxed) != 0) {
    if (rotation_.any(pool))
      session.setWaitingSince(0);
    else if (session.waitingSince() == 0)
      session.setWaitingSince(monotonicMillis());
  } else {
    std::optional<uint32_t> upstream = rotation_.next(pool, [this](uint32_t u) { return usable(u); });
    if (!upstream) {
      if (session.waitingSince() == 0) session.setWaitingSince(monotonicMillis());
      return;
    }
    session.setUpstream(*upstream, links_[*upstream].generation);
    table_->upstream(*upstream).sessionsAssigned.fetch_add(1, kRelaxed);
    session.setWaitingSince(0);
    if (links_[*upstream].extended) session.expectResume();
    attach(session, *upstream);
  }
  pump(session);
  session.resumeReading();
}

void UpstreamLinks::keepOrAssign(Session& session) {
  if (session.phase() != SessionPhase::kOpen) return;
  const uint32_t upstream = session.upstream();
  bool kept = upstream < links_.size() && usable(upstream) &&
              session.slot().upstreamGeneration.load(kRelaxed) == links_[upstream].generation;
  if (!kept) {
    session.setUpstream(kNoUpstream, 0);
    return assign(session);
  }
  attach(session, upstream);
  pump(session);
  session.resumeReading();
}

void UpstreamLinks::assignWaiting() {
  sessions_->forEach([this](Session& session) {
    if (session.waitingSince() != 0) assign(session);
  });
}

// One that is routed by message has no upstream of its own: any of its payloads may have gone there, if any did
// (`carried`).
bool UpstreamLinks::isServedBy(const Session& session, uint32_t upstream, bool carried) const {
  if (session.phase() != SessionPhase::kOpen) return false;
  if (session.settings().routeByMessage.load(kRelaxed) == 0) return session.upstream() == upstream;
  return carried && session.slot().pool.load(kRelaxed) == table_->upstream(upstream).pool.load();
}

// `lost`: what is on its way there may be.
void UpstreamLinks::moveSessions(uint32_t upstream, bool lost) {
  const bool carried = std::exchange(links_[upstream].carried, false);
  sessions_->forEach([&](Session& session) {
    if (!isServedBy(session, upstream, carried)) return;
    const bool itsOwn = session.upstream() == upstream;
    if (itsOwn) session.setUpstream(kNoUpstream, 0);
    if ((lost && noteLoss(session, upstream)) || !itsOwn) return;
    table_->worker(self_.row).sessionsMoved.fetch_add(1, kRelaxed);
    assign(session);
  });
}

// One that has missed a question of the prober's may have read nothing since it was last heard of.
Millis UpstreamLinks::lastSignOf(uint32_t upstream) const {
  const UpstreamSlot& slot = table_->upstream(upstream);
  const Millis stream = links_[upstream].lastSign, live = static_cast<Millis>(slot.lastLiveMs.load(kRelaxed));
  const Millis asked = std::min<Millis>(slot.aliveTimeoutMs.load(kRelaxed) / 3, kLongestQuestionMs);
  return live != 0 && monotonicMillis() - live > 2 * asked ? std::min(live, stream) : stream;
}

// Its upstream is lost. What one with `resume` has not acknowledged is sent again: that is no doubt. True: it is ended.
bool UpstreamLinks::noteLoss(Session& session, uint32_t upstream) {
  if (!session.isInDoubt(lastSignOf(upstream))) return false;
  const bool closes = session.settings().closeOnUpstreamLoss.load(kRelaxed) != 0;
  reportDoubt(session, upstream, "upstream_lost", closes ? "is lost; it is ended" : "is lost; it goes on");
  if (closes) session.abort(CloseReason::kUpstreamLoss);
  return closes;
}

uint32_t UpstreamLinks::noteUnproven(uint32_t upstream, Millis halfClosed) {
  uint32_t inDoubt = 0;
  sessions_->forEach([&](const Session& session) {
    if (!isServedBy(session, upstream, links_[upstream].carried) || !session.isInDoubt(halfClosed)) return;
    ++inDoubt;
    reportDoubt(session, upstream, "barrier_timeout",
                "has not confirmed that it read everything before a move; it goes on");
  });
  return inDoubt;
}

void UpstreamLinks::reportDoubt(const Session& session, uint32_t upstream, std::string_view reason,
                                std::string_view what) {
  table_->worker(self_.row).inDoubt.fetch_add(1, kRelaxed);
  const Uuid uuid = SessionTable(*table_).uuid(session.ref().slot);
  logInfo("session_in_doubt", {{"session", uuid}, {"upstream", name(upstream)}, {"reason", reason}},
          "session {}: in doubt, its upstream {} {}", uuid, name(upstream), what);
}

}  // namespace ppx
