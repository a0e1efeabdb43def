// This forwarder's streams to upstreams, one each, and which session's input goes where. The Asio thread.
//
//              ready       opened   ended OK     ended badly   not ready    deleted     due
//  none        connecting^ -        -            -             -            report      -
//  connecting  -           open     backoff      backoff *     none *       draining    -
//  open        -           -        connecting+  backoff *     none *       draining    -
//  backoff     -           -        -            -             none *       report      connecting
//  draining    -           -        none *       none *        -            -           move / cancel
//
//  *: its sessions move to other upstreams. +: backoff when it did not even last a second.
//  draining: half-closed; its sessions wait until the upstream has ended the stream, which proves that it has
//  read everything; after barrier_timeout they move anyway, after drain_max the stream is cancelled. report:
//  streams[row] says none, and the supervisor hears of it.
//  ^: not while it is held (quiesce), or while the forwarder whose successor this one is has a stream there.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "forwarder/session_set.h"
#include "forwarder/stream_port.h"
#include "forwarder/upstream_rotation.h"

namespace ppx {

class UpstreamLinks {
 public:
  // `ended(upstream, generation)`: no stream to that draining upstream any more.
  UpstreamLinks(const Table& table, const WorkerId& self, StreamPort& port, SessionSet& sessions,
                std::function<void(uint32_t, uint32_t)> ended);

  void sync();     // looks at the table again if an upstream changed
  void collect();  // takes the events of the streams
  void tick(Millis now);
  void assign(Session& session);  // chooses an upstream for a session that has none
  void pump(Session& session);    // passes on what waits, one payload at a time
  void kick();                    // end of the turn: what was submitted starts to travel
  uint32_t inputAllowance(const Session& session) const;
  // After a take-over: the upstream that it had, if that one is still there; else another.
  void keepOrAssign(Session& session);
  // Every session that this forwarder took over is served: upstreams that heard of each are told that these were all.
  void sendLists();
  // It begins to end: its upstream is told.
  void left(const SessionSlot& session, CloseReason reason);

  // Planned handovers (handover.h). Draining a stream on request is the draining of a deleted upstream, but that
  // its sessions stay where they are and no other stream is opened before reopen().
  // `quiet(upstream, proven)`: nothing is on its way there any more. Not proven: the upstream has not ended the
  // stream in order, or not within barrier_timeout, and it lingers.
  void setQuietHandler(std::function<void(uint32_t, bool)> quiet) { quiet_ = std::move(quiet); }
  // False: there is no stream; none will be opened before reopen().
  bool quiesce(uint32_t upstream);
  void reopen(uint32_t upstream);
  void reopenAll();
  // Its sessions move though it has not ended the stream that was half-closed at `halfClosed` (monotonic): each that this
  // leaves in doubt is counted and logged, and goes on. How many these are.
  uint32_t noteUnproven(uint32_t upstream, Millis halfClosed);
  // Opens no stream to an upstream to which `predecessor` has one.
  void follow(WorkerId predecessor);
  uint32_t streams() const;  // current ones
  uint32_t lingering() const { return static_cast<uint32_t>(lingering_.size()); }
  bool flows(const Session& session) const;  // it can submit

 private:
  enum class State : uint8_t { kNone, kConnecting, kOpen, kBackoff, kDraining };
  struct Link {
    State state = State::kNone;
    bool kickDue = false;
    bool moved = false;    // draining: its sessions have moved
    bool carried = false;  // input went there since its sessions were moved last
    bool held = false;     // no new stream is opened
    uint32_t generation = 0;
    uint32_t preparedFor = 0;  // this generation, if any
    uint32_t failures = 0;     // in a row
    StreamId stream = 0;
    StreamId movesAfter = 0;  // a cancelled stream: its sessions move when it has ended, after its last reply
    uint64_t queuedBytes = 0;
    Millis since = 0;     // in this state
    Millis lastSign = 0;  // of its last stream that is over (stream_port.h)
    Millis retryAt = 0;
    std::vector<SlotRef> waiting;    // sessions with input while it is behind
    bool listDue = false;            // it waits for the end of its list of sessions
    bool extended = false;           // begins with a hello
    uint8_t capabilities = 0;        // granted; 0 until it is open
    uint64_t instance = 0;           // that the stream goes to, while it is open
    std::vector<SessionNews> ended;  // of sessions that ended while it was not open
  };

  void syncOne(uint32_t upstream);
  StreamTarget targetOf(uint32_t upstream, uint32_t generation) const;
  void connect(uint32_t upstream);
  void drain(uint32_t upstream);
  void drop(uint32_t upstream);
  void backOff(uint32_t upstream, Millis delay);
  void enter(uint32_t upstream, State state);
  bool usable(uint32_t upstream);
  Link* linkFor(Session& session, uint32_t& upstream);
  void onOpened(uint32_t upstream, const StreamEvent& event);
  void onWritten(uint32_t upstream, const StreamEvent& event);
  void onEnded(uint32_t upstream, const StreamEvent& event);
  std::vector<SlotRef> takeBack(StreamId stream);
  void onDropped(uint32_t upstream);
  void onMarked(uint32_t upstream, const StreamEvent& event);
  void attach(Session& session, uint32_t upstream);
  void announceEnd(Session& session);
  void kickLater(uint32_t upstream);
  void announceMoves(uint32_t upstream);
  void letGo(Link& link);
  void moveSessions(uint32_t upstream, bool lost);
  bool isServedBy(const Session& session, uint32_t upstream, bool carried) const;
  bool noteLoss(Session& session, uint32_t upstream);
  void reportDoubt(const Session& session, uint32_t upstream, std::string_view reason, std::string_view what);
  Millis lastSignOf(uint32_t upstream) const;
  void assignWaiting();
  void wakeWaiting(Link& link);
  void clearWaiting(Link& link);
  std::string name(uint32_t upstream) const;
  bool isDeleted(uint32_t upstream) const;
  void halfClose(uint32_t upstream);
  void linger(uint32_t upstream);
  void onDrained(uint32_t upstream, bool proven);
  void tickDraining(uint32_t upstream, Millis now);
  void tickLingering(Millis now);
  bool followsThere(uint32_t upstream);

  const Table* table_;
  WorkerId self_;
  StreamPort* port_;
  SessionSet* sessions_;
  std::function<void(uint32_t, uint32_t)> ended_;
  UpstreamRotation rotation_;
  std::vector<Link> links_;  // by upstream slot
  std::unordered_map<StreamId, uint32_t> byStream_;
  std::vector<uint32_t> kicks_;
  std::vector<StreamEvent> events_;
  std::vector<iovec> pieces_;
  uint64_t epoch_ = ~0ull;
  struct Lingering {
    StreamId stream;
    uint32_t upstream;
    Millis since;  // it was half-closed
  };
  std::vector<Lingering> lingering_;
  std::function<void(uint32_t, bool)> quiet_;
  std::optional<WorkerId> predecessor_;
  Millis followUntil_ = 0;
  bool waitsForPredecessor_ = false;
  bool listsDue_ = false;
  uint64_t budget_;  // bytes queued for one stream before it counts as behind
};

}  // namespace ppx
