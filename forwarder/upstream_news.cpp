// UpstreamLinks: what upstreams with `events` are told of sessions.
#include <utility>

#include "common/peer_text.h"
#include "forwarder/upstream_links.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

// The stream is open, or will be: then once more.
void UpstreamLinks::attach(Session& session, uint32_t upstream) {
  Link& link = links_[upstream];
  if (link.state != State::kOpen) return;
  session.setCapabilities(link.capabilities);
  session.serveBy(link.instance);
  if ((link.capabilities & kEvents) == 0) return;
  const SessionSlot& slot = session.slot();
  SessionNews news;
  news.kind = SessionNews::Kind::kOpened;
  news.client = {slot.uuidHigh.load(kRelaxed), slot.uuidLow.load(kRelaxed)};
  news.peer =
      peerText(slot.peerHigh.load(kRelaxed), slot.peerLow.load(kRelaxed), slot.peerPort.load(kRelaxed));
  news.listener = session.settings().name;
  // That it was announced here is no proof that this instance has read it: then it is new there.
  const bool resumes = (link.capabilities & kResume) != 0;
  news.continued = session.isContinued() || (!resumes && session.wasAnnounced());
  news.offset = slot.inWritten.load(kRelaxed);
  if (resumes) {
    news.assignment = slot.assignment.load(kRelaxed);
    news.announcement = session.nextAnnouncement();
  }
  session.setAnnounced();
  port_->announce(link.stream, news);
  kickLater(upstream);
}

void UpstreamLinks::announceEnd(Session& session) {
  if (!session.inputEnded() || session.endAnnounced || session.upstream() == kNoUpstream) return;
  Link& link = links_[session.upstream()];
  if (link.state != State::kOpen || (link.capabilities & kEvents) == 0) return;
  session.endAnnounced = true;
  SessionNews news;
  news.kind = SessionNews::Kind::kEnd;
  news.client = {session.slot().uuidHigh.load(kRelaxed), session.slot().uuidLow.load(kRelaxed)};
  port_->announce(link.stream, news);
  kickLater(session.upstream());
}

void UpstreamLinks::left(const SessionSlot& session, CloseReason reason) {
  const uint32_t upstream = session.upstream.load(kRelaxed);
  if (upstream >= links_.size() || (session.flags.load(kRelaxed) & kSessionAnnounced) == 0) return;
  Link& link = links_[upstream];
  if (link.generation != session.upstreamGeneration.load(kRelaxed)) return;
  SessionNews news;
  news.kind = SessionNews::Kind::kClosed;
  news.client = {session.uuidHigh.load(kRelaxed), session.uuidLow.load(kRelaxed)};
  news.reason = closeReasonInfo(reason).name;
  if (link.state != State::kOpen) {
    if (link.state != State::kNone && link.extended) link.ended.push_back(news);
  } else if ((link.capabilities & kEvents) != 0) {
    port_->announce(link.stream, news);
    kickLater(upstream);
  }
}

// The upstream is deleted: its sessions go on with others once it has ended this stream.
void UpstreamLinks::announceMoves(uint32_t upstream) {
  Link& link = links_[upstream];
  if ((link.capabilities & kEvents) == 0) return;
  sessions_->forEach([&](Session& session) {
    if (session.upstream() != upstream || session.phase() != SessionPhase::kOpen) return;
    session.setContinued();
    SessionNews news;
    news.kind = SessionNews::Kind::kMoved;
    news.client = {session.slot().uuidHigh.load(kRelaxed), session.slot().uuidLow.load(kRelaxed)};
    port_->announce(link.stream, news);
  });
}

void UpstreamLinks::sendLists() {
  if (!std::exchange(listsDue_, false)) return;
  for (uint32_t upstream = 0; upstream < links_.size(); ++upstream) {
    Link& link = links_[upstream];
    if (!std::exchange(link.listDue, false) || link.state != State::kOpen) continue;
    port_->announce(link.stream, {});
    kickLater(upstream);
  }
}

}  // namespace ppx
