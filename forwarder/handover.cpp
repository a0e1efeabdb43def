#include "forwarder/handover.h"

#include <algorithm>

#include "common/failpoint.h"
#include "common/log.h"
#include "forwarder/by_traffic.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Millis kPutAgainMs = 500;  // a fetch from custody takes a few milliseconds
constexpr Millis kEndingMs = 2000;   // then a session that still ends is finished by the successor

bool isRoutedByMessage(const Session& session) {
  return session.settings().routeByMessage.load(kRelaxed) != 0;
}

}  // namespace

Handover::Handover(const Table& table, const WorkerId& self, const Doorbells& doorbells, SessionSet& sessions,
                   UpstreamLinks& links, Handlers handlers)
    : table_(&table),
      self_(self),
      doorbells_(&doorbells),
      sessions_(&sessions),
      links_(&links),
      handlers_(std::move(handlers)) {}

void Handover::begin(const control::HandOver& order) {
  if (active()) stop();
  if (order.id == 0) return;
  order_ = order;
  report_ = {};
  report_.id = order.id;
  upstream_ = 0;
  quiescing_ = false;
  quiescedUs_ = monotonicMicros();
  bool targetsLive = order.targets > 0;
  for (uint8_t i = 0; i < order.targets; ++i)
    targetsLive =
        targetsLive && order.rows[i] < kMaxForwarders && order.rows[i] != self_.row &&
        (table_->worker(order.rows[i]).incarnation.load() & kIncarnationMask) == order.incarnations[i];
  step_ = Step::kStreams;
  if (!targetsLive) return stop();
  if (!all()) choose();
  logInfo("handover_begins", {{"sessions", all() ? sessions_->size() : chosen_.size()}},
          "handing over {} sessions to {} forwarders", all() ? sessions_->size() : chosen_.size(),
          order.targets);
  nextStream();
}

// In even parts of all that there are: every n-th.
void Handover::choose() {
  chosen_.clear();
  uint64_t open = 0, seen = 0;
  sessions_->forEach([&](Session& session) { open += session.phase() == SessionPhase::kOpen ? 1 : 0; });
  const uint64_t wanted = std::min<uint64_t>(order_.sessions, open);
  sessions_->forEach([&](Session& session) {
    if (session.phase() != SessionPhase::kOpen) return;
    if ((seen + 1) * wanted / open > seen * wanted / open) chosen_.insert(session.ref().slot);
    ++seen;
  });
}

bool Handover::moves(const Session& session) const {
  return session.phase() == SessionPhase::kOpen && (all() || chosen_.contains(session.ref().slot));
}

void Handover::nextStream() {
  while (step_ == Step::kStreams && !quiescing_) {
    if (!handlers_.custodyReady()) return;  // the tick asks again
    if (upstream_ == table_->sizes().upstreamSlots) {
      step_ = Step::kRest;
      return moveRest();
    }
    bool concerned = all();
    if (!concerned)
      sessions_->forEach([&](Session& session) {
        concerned = concerned || (session.upstream() == upstream_ && moves(session));
      });
    quiescedUs_ = monotonicMicros();
    if (concerned && links_->quiesce(upstream_)) {
      quiescing_ = true;
      failpoint("handover.quiesced");
      return;
    }
    if (concerned) departAll(upstream_);
    ++upstream_;
  }
}

void Handover::onQuiet(uint32_t upstream, bool proven) {
  if (step_ != Step::kStreams || !quiescing_ || upstream != upstream_) return;
  quiescing_ = false;
  failpoint("handover.quiet");
  if (!proven) report_.inDoubt += links_->noteUnproven(upstream, static_cast<Millis>(quiescedUs_ / 1000));
  departAll(upstream);
  if (!all()) links_->reopen(upstream);
  ++upstream_;
  nextStream();
}

template <typename Wanted>
void Handover::departIf(Wanted wanted) {
  std::vector<SlotRef> leaving;
  sessions_->forEach([&](Session& session) {
    if (wanted(session)) leaving.push_back(session.ref());
  });
  sortByTraffic(*table_, leaving);
  for (const SlotRef& ref : leaving)
    if (Session* session = sessions_->find(ref)) depart(*session);
  // Once for all: the taker looks through the whole journal for what it finds at one time.
  if (!leaving.empty()) ringTargets();
}

void Handover::ringTargets() {
  for (uint8_t i = 0; i < order_.targets; ++i) doorbells_->ring(order_.rows[i]);
}

void Handover::departAll(uint32_t upstream) {
  departIf([&](const Session& session) {
    return session.upstream() == upstream && moves(session) && !isRoutedByMessage(session);
  });
  // They may open a stream of their own there even if no session comes.
  ringTargets();
}

void Handover::moveRest() {
  departIf([this](const Session& session) { return moves(session); });
  enterEnding();
}

void Handover::enterEnding() {
  chosen_.clear();
  step_ = Step::kEnding;
  endingSince_ = monotonicMillis();
  changed_ = true;
}

// From here on the session is not ours: nothing of its slot is written after move().
void Handover::depart(Session& session) {
  if (session.inFlightOn() != 0) session.leaveInFlight();
  const SlotRef ref = session.ref();
  const uint8_t target = order_.rows[nextTarget_++ % order_.targets];
  session.slot().quiesced.store(quiescedUs_ << 8 | self_.row);
  UniqueFd socket = session.depart();
  sessions_->erase(ref);
  failpoint("handover.departing");
  bool ours = SessionTable(*table_).move(ref, self_, target);
  PPX_INVARIANT(ours);
  failpoint("handover.departed");
  departing_.push_back({ref, std::move(socket), target, monotonicMillis()});
  table_->dirtySet(target).set(ref.slot);  // the caller rings
  changed_ = true;
}

void Handover::onServed(Session& session) {
  if (!active() || !all() || step_ < Step::kRest || session.phase() != SessionPhase::kOpen) return;
  quiescedUs_ = monotonicMicros();
  depart(session);
  ringTargets();
}

void Handover::onWorkerDied(uint8_t row, uint32_t incarnation) {
  if (!active()) return;
  for (uint8_t i = 0; i < order_.targets; ++i)
    if (order_.rows[i] == row && order_.incarnations[i] == incarnation) {
      logWarn("handover_stopped", {{"target_row", row}},
              "forwarder-{} died while sessions were handed over to it: the rest stay here", row);
      return stop();
    }
}

void Handover::stop() {
  step_ = Step::kIdle;
  quiescing_ = false;
  chosen_.clear();
  SessionTable sessions(*table_);
  std::vector<Owned> back;
  std::vector<Departing> departing;
  departing.swap(departing_);
  for (Departing& each : departing) {
    SlotWord word = sessions.word(each.ref.slot);
    if (word.generation != each.ref.generation || word.state != SlotState::kHandoff ||
        word.worker != each.target)
      continue;
    if (sessions.redirect(each.ref, each.target, self_.row) && sessions.own(each.ref, self_))
      back.push_back({each.ref, std::move(each.socket)});
  }
  if (!back.empty()) handlers_.takeBack(std::move(back));
  links_->reopenAll();
  send(control::HandedOver::State::kStopped);
}

// The target owns it: our copy has done its service. Or it has not got it from custody: perhaps that is a new one.
void Handover::lookAfterDeparted(Millis now) {
  SessionTable sessions(*table_);
  for (size_t i = departing_.size(); i-- > 0;) {
    Departing& each = departing_[i];
    SlotWord word = sessions.word(each.ref.slot);
    if (word.state == SlotState::kHandoff && word.generation == each.ref.generation) {
      if (now - each.putAt < kPutAgainMs) continue;
      each.putAt = now;
      handlers_.putAgain(each.ref, each.socket.get());
      doorbells_->ringSlot(*table_, each.ref.slot);
      continue;
    }
    ++report_.moved;
    changed_ = true;
    if (i + 1 != departing_.size()) std::swap(each, departing_.back());
    departing_.pop_back();
  }
}

void Handover::tick(Millis now) {
  if (!active()) return;
  lookAfterDeparted(now);
  if (step_ == Step::kStreams) nextStream();
  if (step_ == Step::kEnding) return finishIfDone(now);
  if (changed_) send(control::HandedOver::State::kRunning);
}

void Handover::finishIfDone(Millis now) {
  bool moved = departing_.empty();
  bool quiet = order_.leave == 0 || (links_->streams() == 0 && links_->lingering() == 0 &&
                                     (sessions_->size() == 0 || now - endingSince_ >= kEndingMs));
  if (!moved || !quiet) {
    if (changed_) send(control::HandedOver::State::kRunning);
    return;
  }
  step_ = Step::kIdle;
  logInfo("handed_over", {{"sessions", report_.moved}}, "handed over {} sessions", report_.moved);
  send(control::HandedOver::State::kDone);
  failpoint("handover.done");
  if (order_.leave != 0) return handlers_.leave();
  links_->reopenAll();
}

void Handover::send(control::HandedOver::State state) {
  changed_ = false;
  report_.state = state;
  report_.remaining = static_cast<uint32_t>(departing_.size());
  if (active()) sessions_->forEach([&](Session& session) { report_.remaining += moves(session) ? 1 : 0; });
  report_.streamsLeft = links_->streams();
  report_.lingering = links_->lingering();
  handlers_.report(report_);
}

}  // namespace ppx
