#include "forwarder/upstream_links.h"

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "common/peer_text.h"
#include "forwarder/by_traffic.h"
#include "forwarder/upstream_target.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Millis kConnectMs = 10'000;  // then the attempt is given up, whatever gRPC still waits for
constexpr Millis kShortLifeMs = 1000;
constexpr Millis kShortLifeDelayMs = 100;
constexpr Millis kFirstRetryMs = 50;
constexpr Millis kLastRetryMs = 2000;
constexpr Millis kResumeRetryMs = 10;
constexpr Millis kLongestQuestionMs = 5000;  // between two of the prober's (prober/probe_machine.h)
constexpr uint64_t kMinBudget = 64 << 10;
constexpr uint64_t kMaxBudget = 1 << 20;

StreamState streamStateOf(bool connecting, bool open, bool draining) {
  return connecting ? StreamState::kConnecting
         : open     ? StreamState::kOpen
         : draining ? StreamState::kDraining
                    : StreamState::kFailing;
}

}  // namespace

UpstreamLinks::UpstreamLinks(const Table& table, const WorkerId& self, StreamPort& port, SessionSet& sessions,
                             std::function<void(uint32_t, uint32_t)> ended)
    : table_(&table),
      self_(self),
      port_(&port),
      sessions_(&sessions),
      ended_(std::move(ended)),
      rotation_(table),
      links_(table.sizes().upstreamSlots),
      budget_(std::clamp<uint64_t>(static_cast<uint64_t>(table.sizes().inSegments) * kSegmentBytes / 64,
                                   kMinBudget, kMaxBudget)) {}

std::string UpstreamLinks::name(uint32_t upstream) const {
  const UpstreamSlot& slot = table_->upstream(upstream);
  return upstreamLabel(slot.host, slot.port.load());
}

void UpstreamLinks::enter(uint32_t upstream, State state) {
  Link& link = links_[upstream];
  link.state = state;
  link.since = monotonicMillis();
  StreamState shown = state == State::kNone ? StreamState::kNone
                                            : streamStateOf(state == State::kConnecting,
                                                            state == State::kOpen, state == State::kDraining);
  table_->upstream(upstream).streams[self_.row].store(lifeWord(link.generation, static_cast<uint8_t>(shown)));
}

void UpstreamLinks::sync() {
  uint64_t epoch = table_->header().upstreamEpoch.load();
  if (epoch == epoch_ && !waitsForPredecessor_) return;
  waitsForPredecessor_ = false;
  epoch_ = epoch;
  for (uint32_t i = 0; i < links_.size(); ++i) syncOne(i);
  assignWaiting();
}

void UpstreamLinks::syncOne(uint32_t upstream) {
  const UpstreamSlot& slot = table_->upstream(upstream);
  Link& link = links_[upstream];
  uint64_t life = slot.life.load(), health = slot.health.load();
  uint32_t generation = lifeGeneration(life);
  if (link.state != State::kNone && link.generation != generation) drop(upstream);
  switch (lifeState<UpstreamLife>(life)) {
    case UpstreamLife::kFree:
      return;
    case UpstreamLife::kDraining:
      if (link.state == State::kConnecting || link.state == State::kOpen) return drain(upstream);
      if (link.state == State::kDraining) return;
      link.generation = generation;
      drop(upstream);
      return ended_(upstream, generation);
    case UpstreamLife::kActive:
      break;
  }
  bool ready =
      lifeGeneration(health) == generation && lifeState<UpstreamHealth>(health) == UpstreamHealth::kReady;
  if (ready && link.state == State::kNone) {
    if (link.held) return;
    if (followsThere(upstream)) {
      if (std::exchange(link.preparedFor, generation) != generation)
        port_->prepare(targetOf(upstream, generation));
      return;
    }
    link.generation = generation;
    link.failures = 0;
    connect(upstream);
  } else if (!ready && link.state != State::kNone) {
    logInfo("sessions_move", {{"upstream", name(upstream)}}, "upstream {} is not ready: its sessions move",
            name(upstream));
    drop(upstream);
  }
}

StreamTarget UpstreamLinks::targetOf(uint32_t upstream, uint32_t generation) const {
  const UpstreamSlot& slot = table_->upstream(upstream);
  const bool extended = slot.announced.load() == lifeWord(generation, kExtensionsVersion);
  return {upstream, generation, slot.pool.load(), slot.host, slot.port.load(), extended};
}

void UpstreamLinks::connect(uint32_t upstream) {
  Link& link = links_[upstream];
  const StreamTarget target = targetOf(upstream, link.generation);
  link.extended = target.extended;
  link.capabilities = 0;
  link.queuedBytes = 0;
  link.moved = false;
  link.stream = port_->open(target);
  byStream_[link.stream] = upstream;
  enter(upstream, State::kConnecting);
}

void UpstreamLinks::drain(uint32_t upstream) {
  announceMoves(upstream);
  halfClose(upstream);
}

// The upstream is down or gone: its stream is of no use any more.
void UpstreamLinks::drop(uint32_t upstream) {
  Link& link = links_[upstream];
  const StreamId stream = std::exchange(link.stream, 0);
  if (stream != 0) port_->cancel(stream);
  link.queuedBytes = 0;
  clearWaiting(link);
  link.ended.clear();
  const bool resumes = link.state == State::kOpen && (link.capabilities & kResume) != 0;
  const bool quiesced = link.held && link.state == State::kDraining;
  enter(upstream, State::kNone);
  if (resumes)
    link.movesAfter = stream;
  else
    moveSessions(upstream);
  if (quiesced) quiet_(upstream, false);
}

void UpstreamLinks::backOff(uint32_t upstream, Millis delay) {
  Link& link = links_[upstream];
  link.stream = 0;
  link.queuedBytes = 0;
  clearWaiting(link);
  enter(upstream, State::kBackoff);
  link.retryAt = link.since + delay;
}

bool UpstreamLinks::usable(uint32_t upstream) {
  Link& link = links_[upstream];
  // The rotation may know of a ready upstream a moment before the doorbell is answered.
  if (link.state == State::kNone || link.generation != lifeGeneration(table_->upstream(upstream).life.load()))
    syncOne(upstream);
  return link.state == State::kOpen || (link.state == State::kConnecting && link.failures == 0);
}

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

// The stream is open, or will be: then once more.
void UpstreamLinks::attach(Session& session, uint32_t upstream) {
  Link& link = links_[upstream];
  if (link.state != State::kOpen) return;
  session.setCapabilities(link.capabilities);
  if ((link.capabilities & kEvents) == 0) return;
  const SessionSlot& slot = session.slot();
  SessionNews news;
  news.kind = SessionNews::Kind::kOpened;
  news.client = {slot.uuidHigh.load(kRelaxed), slot.uuidLow.load(kRelaxed)};
  news.peer =
      peerText(slot.peerHigh.load(kRelaxed), slot.peerLow.load(kRelaxed), slot.peerPort.load(kRelaxed));
  news.listener = session.settings().name;
  news.continued = session.wasAnnounced();
  news.offset = slot.inWritten.load(kRelaxed);
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

void UpstreamLinks::kickLater(uint32_t upstream) {
  if (links_[upstream].kickDue) return;
  links_[upstream].kickDue = true;
  kicks_.push_back(upstream);
}

void UpstreamLinks::assignWaiting() {
  sessions_->forEach([this](Session& session) {
    if (session.waitingSince() != 0) assign(session);
  });
}

void UpstreamLinks::moveSessions(uint32_t upstream) {
  const bool died = links_[upstream].state != State::kDraining;
  const bool carried = std::exchange(links_[upstream].carried, false);
  const uint32_t pool = table_->upstream(upstream).pool.load();
  sessions_->forEach([&](Session& session) {
    if (session.phase() != SessionPhase::kOpen) return;
    const bool byMessage = session.settings().routeByMessage.load(kRelaxed) != 0;
    if (byMessage) {
      // It has no upstream of its own: any of its payloads may have gone there.
      if (died && carried && session.slot().pool.load(kRelaxed) == pool) noteLoss(session, upstream);
      return;
    }
    if (session.upstream() != upstream) return;
    session.setUpstream(kNoUpstream, 0);
    if (died && noteLoss(session, upstream)) return;
    table_->worker(self_.row).sessionsMoved.fetch_add(1, kRelaxed);
    assign(session);
  });
}

// One that has missed a question of the prober's may have read nothing since it was last heard of; another has just ended.
Millis UpstreamLinks::lastSignOf(uint32_t upstream) const {
  const UpstreamSlot& slot = table_->upstream(upstream);
  const Millis now = monotonicMillis(), live = static_cast<Millis>(slot.lastLiveMs.load(kRelaxed));
  const Millis asked = std::min<Millis>(slot.aliveTimeoutMs.load(kRelaxed) / 3, kLongestQuestionMs);
  return live != 0 && now - live > 2 * asked ? live : now;
}

// Its upstream is lost. What one with `resume` has not acknowledged is sent again: that is no doubt. True: it is ended.
bool UpstreamLinks::noteLoss(Session& session, uint32_t upstream) {
  if (!session.isInDoubt(lastSignOf(upstream))) return false;
  table_->worker(self_.row).inDoubt.fetch_add(1, kRelaxed);
  const bool closes = session.settings().closeOnUpstreamLoss.load(kRelaxed) != 0;
  const Uuid uuid = SessionTable(*table_).uuid(session.ref().slot);
  logInfo("session_in_doubt", {{"session", uuid}, {"upstream", name(upstream)}, {"reason", "upstream_lost"}},
          "session {}: in doubt, its upstream {} is lost; it {}", uuid, name(upstream),
          closes ? "is ended" : "goes on");
  if (closes) session.abort(CloseReason::kUpstreamLoss);
  return closes;
}

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
  return link.state == State::kOpen || (link.state == State::kConnecting && !link.extended) ? &link : nullptr;
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

void UpstreamLinks::collect() {
  port_->collect(events_);
  for (const StreamEvent& event : events_) {
    auto found = byStream_.find(event.stream);
    if (found == byStream_.end()) continue;
    uint32_t upstream = found->second;
    bool current = links_[upstream].stream == event.stream;
    switch (event.type) {
      case StreamEvent::Type::kOpened:
        if (current) onOpened(upstream, event.capabilities);
        break;
      case StreamEvent::Type::kMarked:
        if (current) onMarked(upstream, event);
        break;
      case StreamEvent::Type::kWritten:
        onWritten(upstream, event);
        break;
      case StreamEvent::Type::kEnded: {
        byStream_.erase(found);
        std::erase_if(lingering_, [&](const Lingering& each) { return each.stream == event.stream; });
        std::vector<SlotRef> takenBack = takeBack(event.stream);
        if (current)
          onEnded(upstream, event);
        else if (links_[upstream].movesAfter == event.stream)
          onDropped(upstream);
        // Those that had moved while their payload was in flight go on only now.
        for (const SlotRef& ref : takenBack)
          if (Session* session = sessions_->find(ref)) pump(*session);
        break;
      }
    }
  }
}

// The upstream may have come back meanwhile: then its sessions go on with it.
void UpstreamLinks::onDropped(uint32_t upstream) {
  links_[upstream].movesAfter = 0;
  if (links_[upstream].state == State::kNone) moveSessions(upstream);
}

void UpstreamLinks::onMarked(uint32_t upstream, const StreamEvent& event) {
  Session* session = sessions_->find(event.session);
  if (session == nullptr || session->upstream() != upstream) return;
  session->acknowledged(event.offset);
  pump(*session);
}

void UpstreamLinks::onOpened(uint32_t upstream, uint8_t capabilities) {
  Link& link = links_[upstream];
  if (link.state != State::kConnecting) return;
  enter(upstream, State::kOpen);
  link.failures = 0;
  link.capabilities = capabilities;
  table_->upstream(upstream).streamFailures[self_.row].store(0, kRelaxed);
  if ((capabilities & kEvents) != 0)
    for (const SessionNews& news : link.ended) port_->announce(link.stream, news);
  link.ended.clear();
  std::vector<SlotRef> served;
  sessions_->forEach([&](Session& session) {
    if (session.upstream() == upstream && session.phase() == SessionPhase::kOpen)
      served.push_back(session.ref());
  });
  sortByTraffic(*table_, served);
  for (const SlotRef& ref : served) {
    Session* session = sessions_->find(ref);
    if (session == nullptr || session->phase() != SessionPhase::kOpen) continue;
    attach(*session, upstream);
    pump(*session);
    session->resumeReading();
  }
  link.listDue = (capabilities & kEvents) != 0;
  listsDue_ = listsDue_ || link.listDue;
  assignWaiting();
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

void UpstreamLinks::onEnded(uint32_t upstream, const StreamEvent& event) {
  Link& link = links_[upstream];
  Millis lived = monotonicMillis() - link.since;
  if (link.state == State::kDraining) return onDrained(upstream, event.orderly);
  if (event.orderly) {
    logDebug("stream_ended", {{"upstream", name(upstream)}},
             "upstream {} has ended its stream; it is opened again", name(upstream));
    if (link.state == State::kConnecting || lived < kShortLifeMs)
      backOff(upstream, kShortLifeDelayMs);
    else
      connect(upstream);
    return;  // its sessions stay: what they have in the journal goes over the next stream
  }
  ++link.failures;
  logWarn("stream_broke", {{"upstream", name(upstream)}, {"reason", event.detail}},
          "the stream to upstream {} broke: {}", name(upstream), event.detail);
  table_->upstream(upstream).streamFailures[self_.row].store(link.failures, kRelaxed);
  table_->worker(self_.row).streamFailures.fetch_add(1, kRelaxed);
  // With `resume` it is worth while to ask the same one once more: what it has not acknowledged is sent again, exactly
  // once.
  const bool comesBack = (link.capabilities & kResume) != 0 && link.failures == 1;
  backOff(upstream, comesBack ? kResumeRetryMs
                              : std::min(kLastRetryMs, kFirstRetryMs << std::min(link.failures - 1, 6u)));
  if (!comesBack) moveSessions(upstream);
}

void UpstreamLinks::tick(Millis now) {
  sync();
  for (uint32_t upstream = 0; upstream < links_.size(); ++upstream) {
    Link& link = links_[upstream];
    if (link.state == State::kBackoff && now >= link.retryAt) {
      connect(upstream);
    } else if (link.state == State::kConnecting && now - link.since >= kConnectMs) {
      port_->cancel(link.stream);  // once more each tick until it has ended, which does no harm
    } else if (link.state == State::kDraining) {
      tickDraining(upstream, now);
    }
  }
  tickLingering(now);
}

}  // namespace ppx
