#include "forwarder/forwarder.h"

#include <array>
#include <boost/asio/post.hpp>
#include <optional>

#include "common/failpoint.h"
#include "common/handoff_protocol.h"
#include "common/last_sign.h"
#include "common/last_words.h"
#include "common/limits.h"
#include "common/log.h"
#include "forwarder/in_hand.h"
#include "forwarder/serving.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Millis kTickMs = 100;
constexpr uint32_t kTicksPerLook = 10;
constexpr Millis kLeaveBeforeDeadlineMs = 200;
constexpr Millis kStreamsHangMs = 1000;    // then there is no heartbeat any more
constexpr uint64_t kOwnDescriptors = 256;  // beside one a session

}  // namespace

Forwarder::Serving::Serving(Forwarder& forwarder, Table& t, Doorbells& bells)
    : table(t),
      doorbells(bells),
      journal(t, forwarder.identity_.id),
      router(t, bells, journal, forwarder.identity_.id),
      port(forwarder.makePort_(t, router, [this, row = forwarder.identity_.id.row] { doorbells.ring(row); })),
      sessions(t.sizes().sessionSlots),
      links(t, forwarder.identity_.id, *port, sessions,
            [&forwarder](uint32_t upstream, uint32_t generation) {
              forwarder.control_.upstreamChanged(upstream, generation);
            }),
      takeover(
          t, forwarder.identity_.id,
          [&forwarder](std::span<const custody::Record> records, WorkerId after) {
            forwarder.custody_.fetch(records, after);
          },
          [this](SlotRef ref, WorkerId from, bool planned) { ledger.expect(ref, from, planned); }),
      ledger([&forwarder](const control::TookOver& figures) { forwarder.control_.tookOver(figures); },
             [this](SlotRef ref) {
               const Session* session = sessions.find(ref);
               return session == nullptr || links.flows(*session);
             }),
      handover(t, forwarder.identity_.id, bells, sessions, links, forwarder.handoverHandlers()),
      custodyAudit(t, t.worker(forwarder.identity_.id.row), forwarder.auditHandlers()) {
  links.setQuietHandler([this](uint32_t upstream, bool proven) { handover.onQuiet(upstream, proven); });
  if (forwarder.identity_.predecessor) links.follow(*forwarder.identity_.predecessor);
}

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
                .stop = [this](uint32_t deadlineMs) { onStop(deadlineMs); },
                .handOver =
                    [this](const control::HandOver& order) {
                      if (serving_ != nullptr && !stopping_) serving_->handover.begin(order);
                    },
                .works = [this] { return streamsWork(); }}),
      custody_(io, identity_.runtimeDir, identity_.id,
               {.connected =
                    [this](bool connected) {
                      refill_.onConnected(connected, serving_ == nullptr ? nullptr : &serving_->sessions);
                      if (!connected && serving_ != nullptr) serving_->custodyAudit.onBroken();
                    },
                .drained = [this] { refill_.goOn(serving_->sessions); },
                .putDone =
                    [this](std::span<const custody::Record> records) {
                      serving_->custodyAudit.onPutDone(records);
                    },
                .dropDone =
                    [this](std::span<const custody::Record> records) {
                      for (const custody::Record& record : records)
                        if (Session* session = find({record.slot, record.generation})) session->onDropped();
                      leaveIfEmpty();
                    },
                .give = [this](const custody::Record& record, UniqueFd fd) { onGive(record, std::move(fd)); },
                .missing = [this](const custody::Record& record) { onMissing(record); },
                .listed =
                    [this](std::span<const custody::Record> records) {
                      serving_->custodyAudit.onListed(records);
                    }}),
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
  reserveDescriptors(table.sizes().sessionSlots + kOwnDescriptors);
  serving_ = std::make_unique<Serving>(*this, table, doorbells);
  custody_.start();
  if (auto listening = handoff_.listen(identity_.runtimeDir + "/" + handoff::socketName(identity_.id.row));
      !listening) {
    spdlog::critical("{}", listening.error().text);
    leaveLastWords(listening.error().text);
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
  std::vector<SlotRef> moved;
  for (size_t count = dirty.drain(slots); count > 0; count = dirty.drain(slots)) {
    for (size_t i = 0; i < count; ++i) {
      if (Session* session = s.sessions.atSlot(slots[i])) {
        InHand inHand(figures(), session->ref());
        session->onNews();
        continue;
      }
      SlotWord word = sessions.word(slots[i]);
      if (word.worker != identity_.id.row)
        s.doorbells.ringSlot(s.table, slots[i]);  // it has moved: the news goes after it
      else if (word.state == SlotState::kHandoff && s.table.session(slots[i]).quiesced.load() != 0)
        moved.push_back({slots[i], word.generation});  // it comes
    }
  }
  s.takeover.fetchMoved(moved);
  turnEnds();
}

// What the sessions of this turn submitted starts to travel once they all had theirs, as one burst a stream.
void Forwarder::turnEnds() {
  if (turnPosted_) return;
  turnPosted_ = true;
  boost::asio::post(io_, [this] {
    turnPosted_ = false;
    figures().sessions.store(serving_->sessions.size(), kRelaxed);
    if (serving_->takeover.complete()) serving_->links.sendLists();
    serving_->ledger.look();
    serving_->links.kick();
    noteLife();
  });
}

// last_sign.h
void Forwarder::noteLife() {
  const LastSign read{identity_.id.incarnation, serving_->port->readUpTo()};
  figures().readUpTo.store(read.pack(), kRelaxed);
  if (streamsWork()) figures().heartbeatMs.store(static_cast<uint64_t>(monotonicMillis()), kRelaxed);
}

// Without the port's thread no byte moves, so a forwarder whose streams hang is hung, and the supervisor is to see it.
bool Forwarder::streamsWork() const {
  return serving_ == nullptr || monotonicMillis() - serving_->port->lastSeenAtWork() < kStreamsHangMs;
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
  s.ledger.look();
  s.ledger.tick();
  s.handover.tick(now);
  leaveIfEmpty();
  tickTimer_.expires_after(std::chrono::milliseconds(kTickMs));
  tickTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
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
