// A worker of the stress tests: claims, hands over, owns, pushes, sends, ends and takes over sessions of one
// table at random, and checks what it sees. The same actor runs as a process that is killed, as one of many in
// a simulation, and as a thread.
//
// How a byte is known to be neither lost nor doubled: each message names its session, its pusher and its place
// in the order of that pusher's messages to that session, and its content follows from these. What a session
// sends goes onto its wire (Arena), whose `written` is the commit, as the kernel's counter is for a socket.
// Whoever ends a session reads the whole wire again and compares it with what the pushers noted.
//
// table_actor.cpp: sessions, from claim to release. table_actor_mail.cpp: their mail.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "common/journal.h"
#include "common/mail_outbox.h"
#include "common/mail_pusher.h"
#include "common/session_table.h"
#include "forwarder/lane_writer.h"

namespace ppx::testing {

inline constexpr uint32_t kActorRows = 4;
inline constexpr uint32_t kActorSlots = 64;
inline constexpr TableSizes kActorTable{
    .sessionSlots = kActorSlots, .inSegments = 128, .outSegments = 512, .upstreamSlots = 1};
inline constexpr size_t kWireBytes = 320 * 1024;  // more than a session's 32 KiB and all segments together

// What one row has pushed into one slot: messages 0 .. next-1, of which those in `maybe` may be missing (their
// pusher died on the way). Written by the row's actor, and by fence() once it is dead.
struct PushRecord {
  Atomic<uint32_t> life;  // generation + 1; 0: never
  Atomic<uint32_t> next;
  Atomic<uint32_t> intent;  // number + 1 of the message on its way; 0: none
  Atomic<uint32_t> maybeCount;
  std::array<Atomic<uint32_t>, 32> maybe;
};

// A numbered reply on its way through a row's lane, as the upstream remembers it: whoever comes next in the row
// brings it on its way again, and it arrives once.
struct LaneReply {
  Atomic<uint64_t> sequence;  // 0: none
  Atomic<uint32_t> slot, generation, number, body;
};

struct Wire {
  Atomic<uint64_t> written;
  std::array<char, kWireBytes> bytes;
};

// What the end of a session found: a push that is accepted later must be among it.
struct Verdict {
  Atomic<uint32_t> life;  // generation + 1, once the session was sent to its end
  std::array<Atomic<uint32_t>, kActorRows> arrived;
};

struct Counters {
  Atomic<uint64_t> steps, sessions, moves, messages, refusedPushes, fullPushes, bytes, takeovers, verified,
      leaksFound, auditFound, laneReplies, laneRepetitions;
};

// Beside the table, in memory that all actors share; starts as zeros.
struct Arena {
  std::array<std::array<PushRecord, kActorSlots>, kActorRows> records;
  std::array<LaneReply, kActorRows> laneReplies;
  std::array<Wire, kActorSlots> wires;
  std::array<Verdict, kActorSlots> verdicts;
  std::array<Atomic<uint64_t>, kActorSlots> holders;  // row << 32 | incarnation of who works on the session
  Atomic<uint32_t> deaths;
  Atomic<uint32_t> pauseRound;  // 0: run
  std::array<Atomic<uint32_t>, kActorRows> paused;
  Counters counters;
};

// Says what is wrong and aborts.
[[noreturn]] void violation(const char* format, ...) __attribute__((format(printf, 1, 2)));

class TableActor {
 public:
  TableActor(const Table& table, Arena& arena, const WorkerId& self, uint64_t seed);

  // Takes over what earlier processes of its row left.
  void recover();
  // One random operation.
  void step();
  // Takes what is handed to it and ends all that it owns.
  void endAll();

 private:
  struct Mine {
    SlotRef ref;
    MailOutbox outbox;
    std::vector<uint32_t> in;  // in the order of their ordinals
    bool closing = false;      // ended and verified; the rest comes some steps later
  };

  uint64_t pick(uint64_t below) { return random_() % below; }
  void open();
  void takeHandoffs();
  void pushSomewhere();
  void pushTo(SlotRef ref);
  PushResult pushMessage(SlotRef ref, uint32_t number, size_t body, LaneWriter* lane);
  void carryLaneReply(bool again);
  void serve();
  void send(Mine& mine, size_t atMost);
  void receive(Mine& mine);
  void passOn(Mine& mine);
  void move(Mine& mine);
  void end(Mine& mine);
  void finish(Mine& mine, bool flush);
  void release(Mine& mine);
  void verify(const Mine& mine, bool whole) const;
  Mine& adopt(SlotRef ref);
  void adoptInput(Mine& mine);
  void hold(SlotRef ref);
  void letGo(SlotRef ref);
  void lookForLeaks();
  Mine* any();

  const Table* table_;
  Arena* arena_;
  WorkerId self_;
  std::mt19937_64 random_;
  SessionTable sessions_;
  Journal journal_;
  RandomSource uuids_;
  std::array<std::optional<Mine>, kActorSlots> mine_;
  SlotRef earlier_;  // a session seen some time ago, likely gone by now
  uint32_t deathsSeen_;
};

// The actor of the row is dead for sure: what it was pushing may have arrived or not; its row is empty.
void fence(const Table& table, Arena& arena, uint8_t row);
// Puts a new incarnation into the row.
WorkerId nextIncarnation(const Table& table, uint8_t row);

// No actor is in the middle of a step, but for those of rows that are `dead` and were not fenced. Checks all
// chains, owners and offsets; returns the segments that nobody reaches, which only dead ones may have left.
uint32_t checkTable(const Table& table, const Arena& arena, const std::array<bool, kActorRows>& dead);
// All actors are gone: takes everything over, ends it, audits, and finds each slot and segment free.
void windUp(const Table& table, Arena& arena, uint64_t seed);
// The counters in a line or two.
void printCounters(const Arena& arena);

}  // namespace ppx::testing
