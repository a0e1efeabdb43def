// UpstreamLinks: the input of sessions on its way into streams, one payload of each at a time.
#include <algorithm>
#include <utility>

#include "forwarder/upstream_links.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

UpstreamLinks::Link* UpstreamLinks::linkFor(Session& session, uint32_t& upstream) {
  upstream = session.upstream();
  if (session.settings().routeByMessage.load(kRelaxed) != 0) {
    auto next = rotation_.next(session.slot().pool.load(kRelaxed), [this](uint32_t u) {
      // What goes over an extended stream depends on what its hello will grant.
      return usable(u) && (links_[u].state == State::kOpen || !links_[u].extended);
    });
    if (!next) {
      if (session.waitingSince() == 0) session.setWaitingSince(monotonicMillis());
      return nullptr;
    }
    upstream = *next;
  }
  if (upstream == kNoUpstream) return nullptr;
  Link& link = links_[upstream];
  if (link.state == State::kOpen) return &link;
  return link.state == State::kConnecting && !link.extended && !session.resumes() ? &link : nullptr;
}

void UpstreamLinks::pump(Session& session) {
  if (session.inFlightOn() != 0) return port_->wakeOnWritten(session.inFlightOn());
  if (session.phase() != SessionPhase::kOpen) return;
  if (session.inputWaiting() == 0) return announceEnd(session);
  uint32_t upstream = kNoUpstream;
  Link* link = linkFor(session, upstream);
  if (link == nullptr) return;
  if (link->queuedBytes >= budget_) {
    if (session.waitsInQueue) return;
    session.waitsInQueue = true;
    link->waiting.push_back(session.ref());
    return port_->wakeOnWritten(link->stream);
  }
  // Over a plain stream it may go before that is open.
  if (link->capabilities == 0 && session.upstream() == upstream) session.serveBy(kPlainInstance);
  uint32_t bytes = session.gatherInput(pieces_);
  const SessionSlot& slot = session.slot();
  port_->submit(link->stream, session.ref(), {slot.uuidHigh.load(kRelaxed), slot.uuidLow.load(kRelaxed)},
                pieces_, session.resumes() ? slot.inWritten.load(kRelaxed) : kNoOffset);
  session.submitted(link->stream, bytes);
  link->queuedBytes += bytes;
  link->carried = true;
  // It reads no further before this is written, so nobody would look at the event.
  if (slot.inReceived.load(kRelaxed) - slot.inWritten.load(kRelaxed) >= inputAllowance(session) ||
      (session.inputEnded() && link->capabilities != 0))
    port_->wakeOnWritten(link->stream);
  UpstreamSlot& figures = table_->upstream(upstream);
  figures.messagesIn.fetch_add(1, kRelaxed);
  figures.bytesIn.fetch_add(bytes, kRelaxed);
  table_->worker(self_.row).messagesIn.fetch_add(1, kRelaxed);
  kickLater(upstream);
}

void UpstreamLinks::kick() {
  for (uint32_t upstream : kicks_) {
    links_[upstream].kickDue = false;
    if (links_[upstream].stream != 0) port_->kick(links_[upstream].stream);
  }
  kicks_.clear();
}

void UpstreamLinks::kickLater(uint32_t upstream) {
  if (links_[upstream].kickDue) return;
  links_[upstream].kickDue = true;
  kicks_.push_back(upstream);
}

uint32_t UpstreamLinks::inputAllowance(const Session& session) const {
  const ListenerRow& settings = session.settings();
  uint32_t window = settings.inputWindowBytes.load(kRelaxed);
  if (settings.routeByMessage.load(kRelaxed) != 0) return session.waitingSince() == 0 ? window : 0;
  uint32_t upstream = session.upstream();
  if (upstream == kNoUpstream) return 0;
  const Link& link = links_[upstream];
  if (link.state != State::kOpen && link.state != State::kConnecting) return 0;
  return link.queuedBytes >= budget_ ? kSegmentBytes : window;
}

void UpstreamLinks::onMarked(uint32_t upstream, const StreamEvent& event) {
  Session* session = sessions_->find(event.session);
  if (session == nullptr || session->upstream() != upstream) return;
  if (event.assignment != 0 && event.assignment != session->slot().assignment.load(kRelaxed)) return;
  session->acknowledged(event.offset);
  pump(*session);
}

void UpstreamLinks::onWritten(uint32_t upstream, const StreamEvent& event) {
  Link& link = links_[upstream];
  Session* session = sessions_->find(event.session);
  if (session != nullptr) session->written(event.stream, event.bytes);
  if (link.stream == event.stream) {
    link.queuedBytes -= std::min<uint64_t>(link.queuedBytes, event.bytes);
    if (link.queuedBytes < budget_ / 2)
      wakeWaiting(link);
    else if (!link.waiting.empty())
      port_->wakeOnWritten(link.stream);
  }
  if (session != nullptr) pump(*session);
}

void UpstreamLinks::wakeWaiting(Link& link) {
  std::vector<SlotRef> waiting;
  waiting.swap(link.waiting);
  for (const SlotRef& ref : waiting) {
    Session* session = sessions_->find(ref);
    if (session == nullptr) continue;
    session->waitsInQueue = false;
    pump(*session);
    session->resumeReading();
  }
}

std::vector<SlotRef> UpstreamLinks::takeBack(StreamId stream) {
  std::vector<SlotRef> refs;
  sessions_->forEach([&](Session& session) {
    if (session.inFlightOn() != stream) return;
    session.takenBack(stream);
    refs.push_back(session.ref());
  });
  return refs;
}

void UpstreamLinks::clearWaiting(Link& link) {
  for (const SlotRef& ref : link.waiting)
    if (Session* session = sessions_->find(ref)) session->waitsInQueue = false;
  link.waiting.clear();
}

}  // namespace ppx
