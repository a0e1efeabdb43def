// Taking sessions over: what a predecessor in this row left, and handoffs that never arrived. Every path is
// the same: the slot first, then the descriptor from the custodian, then the kernel as the witness of what
// was done.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "common/session_table.h"
#include "forwarder/fetch_queue.h"
#include "forwarder/session.h"

namespace ppx {

// Slots that this forwarder owns, or is to own, without having their descriptor yet. The Asio thread.
class Takeover {
 public:
  // The descriptor of that session was asked for; `from` owned it.
  using Expect = std::function<void(SlotRef, WorkerId from, bool planned)>;
  Takeover(const Table& table, const WorkerId& self, FetchQueue::Fetch fetch, Expect expect = {});

  // Once at start: takes the slots of dead predecessors in this row and asks for their descriptors.
  void reclaimPredecessors();
  // Everything that a dead forwarder of another row owned or was about to get. It is dead: WorkerDied said so.
  void reclaim(WorkerId dead);
  // Sessions that another forwarder has moved to this row (handover.h).
  void fetchMoved(std::span<const SlotRef> refs);
  // What a forwarder left whose row stays empty. For one forwarder of all to call, now and then.
  void sweepOrphans(Millis now);
  // A handoff for this row that has had no descriptor for a while, or lost it on the way, is asked for too.
  // So is what an acceptor that died had claimed and not handed off.
  void sweepHandoffs(Millis now);
  // An acceptor is dead: what it had handed off may have died on the way here.
  void fetchHandoffs(WorkerId dead);
  void fetchLost(SlotRef ref);
  // The custodian has not got the descriptor of a session of ours that is so young that it may still get it: the next
  // sweep asks again.
  void askLater(SlotRef ref) { later_.push_back(ref); }
  // The answer came: it is no longer waited for. False: it was not.
  bool answered(SlotRef ref) { return fetches_.answered(ref); }
  bool waits(uint32_t slot) const { return fetches_.waits(slot); }
  bool complete() const { return fetches_.empty() && later_.empty(); }

  struct Segments {  // what the journal has of a session, in any order
    std::vector<uint32_t> in;
    std::vector<uint32_t> out;
  };
  struct Reconciled {
    bool alive = false;  // false: the connection is closed already
    bool contradicts =
        false;              // the kernel knows of fewer bytes than were noted: nobody can say what is missing
    bool mismatch = false;  // what the slot said was not what the kernel says; after a crash that is normal
  };
  // Rebuilds windows and outbox of a session whose slot and socket we have: offsets from the kernel, segments
  // from the journal.
  static Reconciled reconcile(const Table& table, Journal& journal, Session& session, Segments segments);
  // It was in the hand of a forwarder that crashed, and in that of two more within a minute.
  bool isPoison(SlotRef ref) const { return poison_.contains(ref.slot) && poison_.at(ref.slot) == ref; }
  // Those of a session that was reclaimed, or moved here, from one pass over the journal then.
  Segments takeSegments(SlotRef ref);
  // One pass over the journal for sessions that were moved in good order: those whose input waits have segments.
  void findWaitingInput(std::span<const SlotRef> moved);

 private:
  void finishClaim(SlotRef ref, const SlotWord& word);
  void findSegments(std::span<const SlotRef> refs);
  void blameLeftIn(uint8_t row, Millis now);
  void blame(SlotRef ref, uint8_t row, Millis now);
  template <typename Wanted>
  void reclaimIf(Wanted wanted);

  const Table* table_;
  WorkerId self_;
  FetchQueue fetches_;
  std::vector<SlotRef> later_;
  Expect expect_;
  std::unordered_map<uint32_t, Millis> handoffSeen_;
  std::unordered_map<uint32_t, Millis> orphanSeen_;
  std::unordered_map<uint32_t, Segments> segments_;
  std::unordered_map<uint32_t, SlotRef> poison_;
};

}  // namespace ppx
