#include "forwarder/forwarder.h"

#include <array>
#include <boost/asio/post.hpp>
#include <optional>

#include "common/failpoint.h"
#include "common/handoff_protocol.h"
#include "common/limits.h"
#include "common/log.h"
#include "forwarder/in_hand.h"

namespace ppx {
namespace {

// So long a descriptor may be on its way from its acceptor to the custodian.
constexpr Millis kCustodyPatienceMs = 5000;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Millis kTickMs = 100;
constexpr uint32_t kTicksPerLook = 10;
constexpr Millis kSweepMs = 1000;
constexpr Millis kAuditMs = 60'000;
constexpr Millis kLeaveBeforeDeadlineMs = 200;

}  // namespace

struct Forwarder::Serving {
  Serving(Forwarder& forwarder, Table& t, Doorbells& bells)
      : table(t),
        doorbells(bells),
        journal(t, forwarder.identity_.id),
        router(t, bells, journal, forwarder.identity_.id),
        port(forwarder.makePort_(t, router,
                                 [this, row = forwarder.identity_.id.row] { doorbells.ring(row); })),
        sessions(t.sizes().sessionSlots),
        links(t, forwarder.identity_.id, *port, sessions,
              [&forwarder](uint32_t upstream, uint32_t generation) {
                forwarder.control_.upstreamChanged(upstream, generation);
              }),
        takeover(t, forwarder.identity_.id,
                 [&forwarder](std::span<const custody::Record> records, WorkerId after) {
                   forwarder.custody_.fetch(records, after);
                 }) {}

  Table& table;
  Doorbells& doorbells;
  Journal journal;
  ReplyRouter router;
  std::unique_ptr<StreamPort> port;
  SessionSet sessions;
  UpstreamLinks links;
  Takeover takeover;
  std::vector<SlotRef> waitForSegments;
  uint32_t turn = 0;  // of the tick
  Millis sweepAt = 0;
  Millis auditAt = 0;
  Millis leaveAt = 0;
};

Forwarder::Forwarder(boost::asio::io_context& io, WorkerIdentity identity, PortFactory makePort)
    : io_(io),
      identity_(std::move(identity)),
      makePort_(std::move(makePort)),
      control_(io, identity_,
               {.welcome = [this](Table& table, Doorbells& doorbells) { onWelcome(table, doorbells); },
                .listeners = {},
                .peersChanged =
                    [this] {
                      if (serving_ != nullptr) custody_.start();
                    },
                .workerDied = [this](const control::WorkerDied& died) { onWorkerDied(died); },
                .stop = [this](uint32_t deadlineMs) { onStop(deadlineMs); }}),
      custody_(io, identity_.runtimeDir, identity_.id,
               {.connected =
                    [this](bool connected) {
                      refill_.onConnected(connected, serving_ == nullptr ? nullptr : &serving_->sessions);
                    },
                .drained = [this] { refill_.goOn(serving_->sessions); },
                .putDone = {},
                .dropDone =
                    [this](std::span<const custody::Record> records) {
                      for (const custody::Record& record : records)
                        if (Session* session = find({record.slot, record.generation})) session->onDropped();
                      leaveIfEmpty();
                    },
                .give = [this](const custody::Record& record, UniqueFd fd) { onGive(record, std::move(fd)); },
                .missing = [this](const custody::Record& record) { onMissing(record); }}),
      refill_(custody_),
      handoff_(io, [this](SlotRef ref, UniqueFd socket) { adopt(ref, std::move(socket)); }),
      doorbell_(io),
      tickTimer_(io) {}

Forwarder::~Forwarder() = default;

void Forwarder::start() {
  raiseDescriptorLimit();
  control_.start();
}

const Table& Forwarder::table() const {
  return serving_->table;
}
Journal& Forwarder::journal() {
  return serving_->journal;
}
WorkerRow& Forwarder::figures() {
  return serving_->table.worker(identity_.id.row);
}
Session* Forwarder::find(SlotRef ref) {
  return serving_->sessions.find(ref);
}
uint32_t Forwarder::inputAllowance(const Session& session) const {
  return serving_->links.inputAllowance(session);
}

void Forwarder::onWelcome(Table& table, Doorbells& doorbells) {
  serving_ = std::make_unique<Serving>(*this, table, doorbells);
  custody_.start();
  if (auto listening = handoff_.listen(identity_.runtimeDir + "/" + handoff::socketName(identity_.id.row));
      !listening) {
    spdlog::critical("{}", listening.error().text);
    std::_Exit(1);
  }
  doorbell_.assign(doorbells.descriptor(identity_.id.row));
  serving_->links.sync();
  serving_->takeover.reclaimPredecessors();
  table.dirtySet(identity_.id.row).repair();
  answerDoorbell();
  listenDoorbell();
  tick();
  control_.ready();
}

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
  Session& session = serving_->sessions.insert(std::make_unique<Session>(*this, io_, ref, std::move(socket)));
  refill_.onServed(session);
  serving_->links.assign(session);
  session.start();
  if (stopping_) session.end(CloseReason::kShutdown);
  turnEnds();
}

// A dead predecessor's session, now ours: the kernel says how far it had come.
void Forwarder::resume(SlotRef ref, UniqueFd socket) {
  InHand inHand(figures(), ref);
  Takeover& takeover = serving_->takeover;
  Session& session = serving_->sessions.insert(std::make_unique<Session>(*this, io_, ref, std::move(socket)));
  bool alive =
      Takeover::reconcile(serving_->table, serving_->journal, session, takeover.takeSegments(ref.slot));
  failpoint("takeover.reconciled");
  Millis now = monotonicMillis();
  SessionSlot& slot = session.slot();
  slot.takeovers.fetch_add(1, kRelaxed);
  uint64_t last = std::max(slot.lastInMs.load(kRelaxed), slot.lastOutMs.load(kRelaxed));
  bool inDoubt = last != 0 && !session.resumes() &&
                 static_cast<uint64_t>(now) - last < serving_->table.header().doubtWindowMs.load(kRelaxed);
  const bool closesInDoubt = session.settings().closeInDoubt.load(kRelaxed) != 0;
  const bool closing = SessionTable(serving_->table).word(ref.slot).state == SlotState::kClosing;
  if (inDoubt && alive && !closing) {
    figures().inDoubt.fetch_add(1, kRelaxed);
    spdlog::info("session {}: in doubt after the crash of its forwarder; it {}",
                 uuidText(SessionTable(serving_->table).uuid(ref.slot)),
                 closesInDoubt ? "is ended" : "goes on");
  }
  if (closing)
    session.resumeClosing();
  else if (!alive)
    session.abort(CloseReason::kClientReset);
  else if (takeover.isPoison(ref))
    session.abort(CloseReason::kPoison);
  else if (inDoubt && closesInDoubt)
    session.abort(CloseReason::kInDoubt);
  if (session.phase() == SessionPhase::kOpen) {
    serving_->links.keepOrAssign(session);
    session.start();
  }
  turnEnds();
}

// Nobody has its descriptor: the slot is all that is left of it.
void Forwarder::loseDescriptor(SlotRef ref) {
  SessionTable sessions(serving_->table);
  SlotWord word = sessions.word(ref.slot);
  if (word.generation != ref.generation) return;
  if (word.state == SlotState::kHandoff && !sessions.own(ref, identity_.id)) return;
  sessions.beginClosing(ref, identity_.id, CloseReason::kCustodyLost);  // or it was closing before
  MailOutbox outbox;
  outbox.attach(serving_->table, ref);
  Takeover::Segments segments = serving_->takeover.takeSegments(ref.slot);
  outbox.reclaimUnreachable(serving_->table, serving_->journal, segments.out);
  outbox.discard(serving_->table, serving_->journal);
  for (uint32_t segment : segments.in) serving_->journal.freeOwned(segment);
  figures().closed[static_cast<size_t>(CloseReason::kCustodyLost)].fetch_add(1, kRelaxed);
  if (sessions.release(ref, identity_.id)) serving_->doorbells.slotReleased(serving_->table);
  spdlog::warn("a session in slot {} is lost: no process has its descriptor", ref.slot);
}

void Forwarder::onGive(const custody::Record& record, UniqueFd socket) {
  SlotRef ref{record.slot, record.generation};
  if (!serving_->takeover.answered(ref)) return;
  SlotWord word = SessionTable(serving_->table).word(ref.slot);
  if (word.generation != ref.generation) return;
  if (word.state == SlotState::kClaimed &&
      !SessionTable(serving_->table).handoff(ref, identity_.id, identity_.id.row))
    return;
  if (word.state == SlotState::kHandoff || word.state == SlotState::kClaimed)
    return adopt(ref, std::move(socket));
  if (word.worker == identity_.id.row && word.incarnation == identity_.id.incarnation && find(ref) == nullptr)
    resume(ref, std::move(socket));
}

void Forwarder::onMissing(const custody::Record& record) {
  SlotRef ref{record.slot, record.generation};
  if (!serving_->takeover.answered(ref) || find(ref) != nullptr) return;
  // Our question may have come to the custodian before its acceptor's message did: the sweep asks again.
  SlotWord word = SessionTable(serving_->table).word(ref.slot);
  auto age =
      monotonicMillis() - static_cast<Millis>(serving_->table.session(ref.slot).acceptedMs.load(kRelaxed));
  if (word.state == SlotState::kHandoff && word.generation == ref.generation && age < kCustodyPatienceMs)
    return;
  if (word.state != SlotState::kClaimed) return loseDescriptor(ref);
  // Its acceptor was killed before it was in custody, so the kernel has reset it.
  if (SessionTable(serving_->table).release(ref, identity_.id))
    serving_->doorbells.slotReleased(serving_->table);
}

void Forwarder::inputWaits(Session& session) {
  serving_->links.pump(session);
  turnEnds();
}

void Forwarder::journalFull(Session& session) {
  serving_->waitForSegments.push_back(session.ref());
}

void Forwarder::leaving(Session& session, CloseReason reason) {
  serving_->links.left(session.slot(), reason);
  turnEnds();
}

void Forwarder::dropCustody(Session& session) {
  custody_.drop(session.custodyRecord());
}

void Forwarder::gone(Session& session) {
  serving_->sessions.erase(session.ref());
  serving_->doorbells.slotReleased(serving_->table);
}

void Forwarder::listenDoorbell() {
  doorbell_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;
                         answerDoorbell();
                         listenDoorbell();
                       });
}

void Forwarder::answerDoorbell() {
  Serving& s = *serving_;
  s.doorbells.answered(s.table, identity_.id.row);
  s.links.sync();
  s.links.collect();
  std::array<uint32_t, 1024> slots;
  DirtySet dirty = s.table.dirtySet(identity_.id.row);
  SessionTable sessions(s.table);
  for (size_t count = dirty.drain(slots); count > 0; count = dirty.drain(slots)) {
    for (size_t i = 0; i < count; ++i) {
      if (Session* session = s.sessions.atSlot(slots[i])) {
        InHand inHand(figures(), session->ref());
        session->onNews();
      } else if (sessions.word(slots[i]).worker != identity_.id.row) {
        s.doorbells.ringSlot(s.table, slots[i]);  // it has moved: the news goes after it
      }
    }
  }
  turnEnds();
}

// What the sessions of this turn submitted starts to travel once they all had theirs, as one burst a stream.
void Forwarder::turnEnds() {
  if (turnPosted_) return;
  turnPosted_ = true;
  boost::asio::post(io_, [this] {
    turnPosted_ = false;
    if (serving_->takeover.complete()) serving_->links.sendLists();
    serving_->links.kick();
  });
}

void Forwarder::tick() {
  Serving& s = *serving_;
  Millis now = monotonicMillis();
  s.table.dirtySet(identity_.id.row).repair();
  answerDoorbell();
  s.links.tick(now);
  uint32_t turn = ++s.turn;
  s.sessions.forEach([&](Session& session) {
    InHand inHand(figures(), session.ref());
    session.onTick(now, (session.ref().slot + turn) % kTicksPerLook == 0);
  });
  std::vector<SlotRef> waiting;
  waiting.swap(s.waitForSegments);
  for (const SlotRef& ref : waiting)
    if (Session* session = find(ref)) session->resumeReading();
  figures().sessions.store(s.sessions.size(), kRelaxed);
  maintain(now);
  leaveIfEmpty();
  tickTimer_.expires_after(std::chrono::milliseconds(kTickMs));
  tickTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

void Forwarder::onWorkerDied(const control::WorkerDied& died) {
  if (serving_ == nullptr) return;
  reclaimLostMail();
  // The ready one with the lowest row; if that one dies too, the next sweep of anybody finds the slots.
  uint8_t lowest = 0;
  while (lowest < kMaxForwarders && serving_->table.worker(lowest).ready.load() == 0) ++lowest;
  if (died.row >= kFirstAcceptorRow && lowest == identity_.id.row)
    serving_->takeover.sweepHandoffs(monotonicMillis());
}

// Segments that a dead pusher had claimed for our sessions and not linked yet, or we would not see before they end.
void Forwarder::reclaimLostMail() {
  Serving& s = *serving_;
  auto segments = s.journal.outSegmentsOf([&](uint32_t slot) { return s.sessions.atSlot(slot) != nullptr; });
  for (auto& [slot, held] : segments) {
    Session* session = s.sessions.atSlot(slot);
    session->outbox().reclaimUnreachable(s.table, s.journal, held);
    session->onNews();
  }
}

void Forwarder::maintain(Millis now) {
  Serving& s = *serving_;
  if (now >= s.sweepAt) {
    s.sweepAt = now + kSweepMs;
    s.takeover.sweepHandoffs(now);
  }
  if (s.auditAt == 0) s.auditAt = now + kAuditMs;
  if (now < s.auditAt) return;
  s.auditAt = now + kAuditMs;
  uint32_t segments = s.journal.audit();
  uint32_t slots = SessionTable(s.table).repairHints();
  if (segments + slots > 0) spdlog::info("audit: {} segments and {} slots were found again", segments, slots);
}

void Forwarder::onStop(uint32_t deadlineMs) {
  if (serving_ == nullptr) control_.leave();
  stopping_ = true;
  handoff_.close();
  serving_->leaveAt =
      monotonicMillis() + std::max<Millis>(deadlineMs, 2 * kLeaveBeforeDeadlineMs) - kLeaveBeforeDeadlineMs;
  serving_->sessions.forEach([](Session& session) { session.end(CloseReason::kShutdown); });
  leaveIfEmpty();
}

void Forwarder::leaveIfEmpty() {
  if (!stopping_) return;
  if (serving_->sessions.size() == 0 || monotonicMillis() >= serving_->leaveAt) control_.leave();
}

}  // namespace ppx
