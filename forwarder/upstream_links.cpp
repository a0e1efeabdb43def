#include "forwarder/upstream_links.h"

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
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
  const StreamId stream = link.stream;
  letGo(link);
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
    moveSessions(upstream, true);
  if (quiesced) quiet_(upstream, false);
}

void UpstreamLinks::letGo(Link& link) {
  if (link.stream != 0) link.lastSign = port_->lastSignOf(link.stream);
  link.stream = 0;
}

void UpstreamLinks::backOff(uint32_t upstream, Millis delay) {
  Link& link = links_[upstream];
  letGo(link);
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

void UpstreamLinks::collect() {
  port_->collect(events_);
  for (const StreamEvent& event : events_) {
    auto found = byStream_.find(event.stream);
    if (found == byStream_.end()) continue;
    uint32_t upstream = found->second;
    bool current = links_[upstream].stream == event.stream;
    switch (event.type) {
      case StreamEvent::Type::kOpened:
        if (current) onOpened(upstream, event);
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
  if (links_[upstream].state == State::kNone) moveSessions(upstream, true);
}

void UpstreamLinks::onOpened(uint32_t upstream, const StreamEvent& event) {
  const uint8_t capabilities = event.capabilities;
  Link& link = links_[upstream];
  if (link.state != State::kConnecting) return;
  enter(upstream, State::kOpen);
  link.failures = 0;
  link.capabilities = capabilities;
  link.instance = (capabilities & kResume) != 0 ? event.instance : kPlainInstance;
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
  if (!comesBack) moveSessions(upstream, true);
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
