// Forwarder: sessions that come: from acceptors, from forwarders that hand over, from dead ones.
#include <algorithm>

#include "common/failpoint.h"
#include "common/last_sign.h"
#include "common/log.h"
#include "forwarder/in_hand.h"
#include "forwarder/serving.h"

namespace ppx {
namespace {

// So long a descriptor may be on its way from its acceptor to the custodian.
constexpr Millis kCustodyPatienceMs = 5000;
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

// A session from an acceptor, or one whose handoff had to be fetched from the custodian.
void Forwarder::adopt(SlotRef ref, UniqueFd socket) {
  if (!socket) return serving_->takeover.fetchLost(ref);
  failpoint("forwarder.received");
  if (!SessionTable(serving_->table).own(ref, identity_.id)) return;  // somebody else has it: our copy closes
  failpoint("forwarder.owned");
  serve(ref, std::move(socket));
}

void Forwarder::serve(SlotRef ref, UniqueFd socket) {
  InHand inHand(figures(), ref);
  const Uuid uuid = SessionTable(serving_->table).uuid(ref.slot);
  logDebug("session_started", {{"session", uuid}}, "session {}: here", uuid);
  Session& session = serving_->sessions.insert(std::make_unique<Session>(*this, io_, ref, std::move(socket)));
  refill_.onServed(session);
  serving_->links.assign(session);
  session.start();
  if (stopping_) session.end(CloseReason::kShutdown);
  serving_->handover.onServed(session);
  turnEnds();
}

// A session that is ours and was another's: moved here, or left by a dead forwarder. The kernel says how far it had come.
void Forwarder::resume(SlotRef ref, UniqueFd socket, bool planned) {
  if (serving_->takeover.isPoison(ref)) return endPoison(ref, std::move(socket));
  InHand inHand(figures(), ref);
  Serving& s = *serving_;
  Session& session = s.sessions.insert(std::make_unique<Session>(*this, io_, ref, std::move(socket)));
  const uint64_t begunUs = monotonicMicros();
  Takeover::Reconciled found = Takeover::reconcile(s.table, s.journal, session, s.takeover.takeSegments(ref));
  failpoint("takeover.reconciled");
  SessionSlot& slot = session.slot();
  TakeoverLedger::Taken taken;
  taken.reconcileUs = static_cast<uint32_t>(monotonicMicros() - begunUs);
  const uint64_t quietSince = slot.quiesced.exchange(0) >> 8;
  if (planned) {
    refill_.onMoved(session);
    taken.quietSinceUs = quietSince;
    taken.mismatch = found.alive && found.mismatch;
    if (taken.mismatch)
      logError("offsets_differ", {{"session", SessionTable(s.table).uuid(ref.slot)}},
               "session {}: its last owner's offsets were not the kernel's",
               SessionTable(s.table).uuid(ref.slot));
  } else {
    slot.takeovers.fetch_add(1, kRelaxed);
  }
  const bool closing = SessionTable(s.table).word(ref.slot).state == SlotState::kClosing;
  taken.inDoubt = found.contradicts || (!planned && !closing && found.alive && noteDoubt(session));
  if (found.contradicts) figures().inDoubt.fetch_add(1, kRelaxed);
  const bool goesOnSurely = planned || session.resumes();  // nothing of it may reach the upstream twice
  if (closing)
    session.resumeClosing();
  else if (found.contradicts)
    session.abort(CloseReason::kInDoubt);
  else if (!found.alive && !(goesOnSurely && session.outliveClient()))
    session.abort(CloseReason::kClientReset);
  else if (taken.inDoubt && session.settings().closeInDoubt.load(kRelaxed) != 0)
    session.abort(CloseReason::kInDoubt);
  slot.lost.store(LastSign{identity_.id.incarnation, 0}.pack());
  failpoint("takeover.judged");
  taken.closed = session.phase() != SessionPhase::kOpen;
  taken.inputBytes = slot.inReceived.load(kRelaxed) - slot.inAcked.load(kRelaxed);
  taken.outputBytes = session.outbox().pending(s.table);
  s.ledger.taken(ref, taken);
  if (!taken.closed) {
    s.links.keepOrAssign(session);
    session.start();
    if (stopping_) session.end(CloseReason::kShutdown);
    s.handover.onServed(session);
  }
  turnEnds();
}

// As little of it is touched as can be: three forwarders have died of it.
void Forwarder::endPoison(SlotRef ref, UniqueFd socket) {
  InHand inHand(figures(), ref);
  Serving& s = *serving_;
  const bool closing = SessionTable(s.table).word(ref.slot).state == SlotState::kClosing;
  Session& session = s.sessions.insert(std::make_unique<Session>(*this, io_, ref, std::move(socket)));
  Takeover::Segments segments = s.takeover.takeSegments(ref);
  for (uint32_t segment : segments.in) s.journal.freeOwned(segment);
  session.outbox().reclaimUnreachable(s.table, s.journal, segments.out);
  session.slot().quiesced.store(0);
  session.slot().takeovers.fetch_add(1, kRelaxed);
  if (closing)
    session.abortClosing(CloseReason::kPoison);
  else
    session.abort(CloseReason::kPoison);
  s.ledger.taken(ref, {.closed = true});
  turnEnds();
}

// Whether bytes of it may have been lost with its forwarder, or be sent twice. What counts is how long it was quiet when that
// one was last heard of, not how long ago that is.
bool Forwarder::noteDoubt(const Session& session) {
  const LastSign lost = LastSign::unpack(session.slot().lost.load());
  if (!session.isInDoubt(lost.at != 0 ? lost.at : monotonicMillis())) return false;
  figures().inDoubt.fetch_add(1, kRelaxed);
  const Uuid uuid = SessionTable(serving_->table).uuid(session.ref().slot);
  logInfo("session_in_doubt", {{"session", uuid}, {"reason", "forwarder_crash"}},
          "session {}: in doubt after the crash of its forwarder; it {}", uuid,
          session.settings().closeInDoubt.load(kRelaxed) != 0 ? "is ended" : "goes on");
  return true;
}

// Nobody has its descriptor: the slot is all that is left of it. One that was ending was out of custody already.
void Forwarder::loseDescriptor(SlotRef ref) {
  SessionTable sessions(serving_->table);
  SlotWord word = sessions.word(ref.slot);
  if (word.generation != ref.generation) return;
  if (word.state == SlotState::kHandoff && !sessions.own(ref, identity_.id)) return;
  const bool ended = word.state == SlotState::kClosing;
  if (!ended) sessions.beginClosing(ref, identity_.id, CloseReason::kCustodyLost);
  MailOutbox outbox;
  outbox.attach(serving_->table, ref);
  Takeover::Segments segments = serving_->takeover.takeSegments(ref);
  outbox.reclaimUnreachable(serving_->table, serving_->journal, segments.out);
  outbox.discard(serving_->table, serving_->journal);
  for (uint32_t segment : segments.in) serving_->journal.freeOwned(segment);
  serving_->table.session(ref.slot).quiesced.store(0);
  serving_->ledger.lost(ref);
  const uint32_t reason = serving_->table.session(ref.slot).closeReason.load(kRelaxed);
  figures().closed[reason % kCloseReasonCapacity].fetch_add(1, kRelaxed);
  // Should its acceptor's message come to the custodian after all, its copy is closed.
  custody::Record record;
  record.slot = ref.slot;
  record.generation = ref.generation;
  custody_.drop(record);
  if (sessions.release(ref, identity_.id)) serving_->doorbells.slotReleased(serving_->table);
  if (!ended)
    logWarn("session_lost", {{"slot", ref.slot}},
            "a session in slot {} is lost: no process has its descriptor", ref.slot);
}

void Forwarder::onGive(const custody::Record& record, UniqueFd socket) {
  Serving& s = *serving_;
  SlotRef ref{record.slot, record.generation};
  s.custodyAudit.onAnswer(ref, true);
  if (!s.takeover.answered(ref)) return;
  SessionTable sessions(s.table);
  SlotWord word = sessions.word(ref.slot);
  if (word.generation != ref.generation || find(ref) != nullptr) return s.ledger.notOurs(ref);
  if (word.state == SlotState::kClaimed && !sessions.handoff(ref, identity_.id, identity_.id.row)) return;
  const bool moved = word.state == SlotState::kHandoff && s.table.session(ref.slot).quiesced.load() != 0;
  if (moved) {
    failpoint("handover.received");
    if (!sessions.own(ref, identity_.id)) return s.ledger.notOurs(ref);
    failpoint("handover.owned");
    return resume(ref, std::move(socket), true);
  }
  if (word.state == SlotState::kHandoff || word.state == SlotState::kClaimed)
    return adopt(ref, std::move(socket));
  if (word.worker == identity_.id.row && word.incarnation == identity_.id.incarnation)
    return resume(ref, std::move(socket), false);
  s.ledger.notOurs(ref);
}

// The forwarder that has moved it here lives.
bool Forwarder::hasGiver(uint32_t slot) const {
  const uint64_t quiesced = serving_->table.session(slot).quiesced.load();
  return quiesced != 0 &&
         serving_->table.worker(static_cast<uint8_t>(quiesced & 0x3f)).incarnation.load() != 0;
}

void Forwarder::onMissing(const custody::Record& record) {
  SlotRef ref{record.slot, record.generation};
  serving_->custodyAudit.onAnswer(ref, false);
  if (!serving_->takeover.answered(ref) || find(ref) != nullptr) return;
  // Whoever moves it here keeps a copy and puts it again. Or: our question may have come to the custodian before its
  // acceptor's message did: the sweep asks again.
  SlotWord word = SessionTable(serving_->table).word(ref.slot);
  auto age =
      monotonicMillis() - static_cast<Millis>(serving_->table.session(ref.slot).acceptedMs.load(kRelaxed));
  logDebug("descriptor_missing", {{"slot", ref.slot}},
           "custody has no descriptor for the session in slot {} ({}, {} ms old)", ref.slot,
           slotStateName(word.state), age);
  if (word.state == SlotState::kHandoff && word.generation == ref.generation &&
      (age < kCustodyPatienceMs || hasGiver(ref.slot)))
    return;
  if (word.state == SlotState::kOwned && word.generation == ref.generation && age < kCustodyPatienceMs)
    return serving_->takeover.askLater(ref);
  if (word.state != SlotState::kClaimed) return loseDescriptor(ref);
  // Its acceptor was killed before it was in custody, so the kernel has reset it.
  if (SessionTable(serving_->table).release(ref, identity_.id))
    serving_->doorbells.slotReleased(serving_->table);
}

void Forwarder::onWorkerDied(const control::WorkerDied& died) {
  if (serving_ == nullptr) return;
  Serving& s = *serving_;
  reclaimLostMail();
  if (died.row < kMaxForwarders) {
    const auto row = static_cast<uint8_t>(died.row);
    if (died.successorRow == identity_.id.row && died.row != identity_.id.row)
      s.takeover.reclaim({row, died.incarnation});
    s.handover.onWorkerDied(row, died.incarnation);
    s.links.sync();  // it may have had streams that this one follows
  }
  if (died.row >= kFirstAcceptorRow && died.row < kProberRow) {
    s.takeover.fetchHandoffs({static_cast<uint8_t>(died.row), died.incarnation});
    // If the first one dies too, the next sweep of anybody finds the slots.
    if (isFirstReady()) s.takeover.sweepHandoffs(monotonicMillis());
  }
  turnEnds();
}

// Of all forwarders that serve, the one with the lowest row.
bool Forwarder::isFirstReady() const {
  for (uint8_t row = 0; row < kMaxForwarders; ++row)
    if (serving_->table.worker(row).ready.load() != 0) return row == identity_.id.row;
  return false;
}

Handover::Handlers Forwarder::handoverHandlers() {
  Handover::Handlers handlers;
  handlers.report = [this](const control::HandedOver& report) { control_.handedOver(report); };
  handlers.takeBack = [this](std::vector<Handover::Owned> sessions) { takeBack(std::move(sessions)); };
  handlers.putAgain = [this](SlotRef ref, int socket) {
    custody::Record record;
    record.slot = ref.slot;
    record.generation = ref.generation;
    const Uuid uuid = SessionTable(serving_->table).uuid(ref.slot);
    record.uuidHigh = uuid.high;
    record.uuidLow = uuid.low;
    if (custody_.canPut(1)) (void)custody_.put({&record, 1}, {&socket, 1});
  };
  handlers.custodyReady = [this] { return custody_.connected() && refill_.complete(); };
  handlers.leave = [this] { control_.leave(); };
  return handlers;
}

// Departed, and not taken by anybody: they are served here again.
void Forwarder::takeBack(std::vector<Handover::Owned> sessions) {
  std::vector<SlotRef> refs;
  for (const Handover::Owned& each : sessions) refs.push_back(each.ref);
  serving_->takeover.findWaitingInput(refs);
  for (Handover::Owned& each : sessions) resume(each.ref, std::move(each.socket), true);
}

// Segments that a dead pusher had claimed for our sessions and not linked yet, or we would not see before they end.
void Forwarder::reclaimLostMail() {
  Serving& s = *serving_;
  auto segments = s.journal.outSegmentsOf([&](uint32_t slot) { return s.sessions.atSlot(slot) != nullptr; });
  for (const auto& [slot, held] : segments) s.sessions.atSlot(slot)->reclaimMail(held);
}

}  // namespace ppx
