// The giving side of a planned handover: sessions go to other forwarders, upstream stream by upstream stream.
//
//   for each upstream, one at a time:
//     quiesce    nothing more is submitted; half-close; the upstream passes on what it still has and ends the
//                stream, which proves that it has read everything. After barrier_timeout it goes on anyway, and
//                the stream lingers, delivering replies, until it ends or drain_max.
//     depart     each of its sessions, those with the latest traffic first: taken out of epoll, slot.quiesced,
//                OWNED(self) -> HANDOFF(target), bell. Its input stays in the journal, its output in the
//                mailbox: they move with the slot.
//   then the rest: sessions without an upstream, or with many (routing = "message"); each later arrival at once.
//   then, if it is to leave: sessions that are ending have a moment to end; leave.
//
// A departed session's socket is kept until its slot says that the target owns it. The target takes it as after a
// crash: descriptor from the custodian, offsets from the kernel. So whoever dies in between, a copy is left:
//   target dies     its row's next process takes what it owned and what was on its way to it; what is not yet owned
//                   is taken back here, and the streams are opened again.
//   this one dies   WorkerDied names a successor, which takes what is still OWNED by it.
//   custodian dies  a departed socket that is still not owned is put into the next one (putAgain).
#pragma once

#include <functional>
#include <unordered_set>
#include <vector>

#include "common/clock.h"
#include "common/control_protocol.h"
#include "common/doorbells.h"
#include "forwarder/session_set.h"
#include "forwarder/upstream_links.h"

namespace ppx {

// The Asio thread.
class Handover {
 public:
  struct Owned {
    SlotRef ref;
    UniqueFd socket;
  };
  struct Handlers {
    std::function<void(const control::HandedOver&)> report;
    std::function<void(std::vector<Owned>)> takeBack;   // owned by us again
    std::function<void(SlotRef, int socket)> putAgain;  // into custody: the target still has not got it
    std::function<bool()> custodyReady;                 // a custodian is there and has all sessions
    std::function<void()> leave;
  };
  Handover(const Table& table, const WorkerId& self, const Doorbells& doorbells, SessionSet& sessions,
           UpstreamLinks& links, Handlers handlers);

  void begin(const control::HandOver& order);
  void onQuiet(uint32_t upstream,
               bool proven);        // UpstreamLinks: nothing of ours is on its way there any more
  void onServed(Session& session);  // a session arrived
  void onWorkerDied(uint8_t row, uint32_t incarnation);
  void tick(Millis now);

  bool active() const { return step_ != Step::kIdle; }

 private:
  enum class Step : uint8_t { kIdle, kStreams, kRest, kEnding };
  struct Departing {
    SlotRef ref;
    UniqueFd socket;
    uint8_t target;
    Millis putAt;
  };

  bool all() const { return order_.sessions == control::kAllSessions; }
  bool moves(const Session& session) const;
  void choose();
  void nextStream();
  void moveRest();
  void enterEnding();
  template <typename Wanted>
  void departIf(Wanted wanted);
  void ringTargets();
  void departAll(uint32_t upstream);
  void depart(Session& session);
  void lookAfterDeparted(Millis now);
  void stop();
  void finishIfDone(Millis now);
  void send(control::HandedOver::State state);

  const Table* table_;
  WorkerId self_;
  const Doorbells* doorbells_;
  SessionSet* sessions_;
  UpstreamLinks* links_;
  Handlers handlers_;
  control::HandOver order_;
  control::HandedOver report_;
  Step step_ = Step::kIdle;
  bool changed_ = false;
  uint32_t nextTarget_ = 0;
  uint32_t upstream_ = 0;  // whose stream is being quiesced, or comes next
  bool quiescing_ = false;
  uint64_t quiescedUs_ = 0;
  Millis endingSince_ = 0;
  std::unordered_set<uint32_t> chosen_;  // slots, if not all
  std::vector<Departing> departing_;
};

}  // namespace ppx
