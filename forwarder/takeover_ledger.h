// What this forwarder took over, from whom, and how long sessions stood still: figures for the supervisor
// (control::TookOver).
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "common/control_protocol.h"
#include "common/session_table.h"

namespace ppx {

// The Asio thread.
class TakeoverLedger {
 public:
  struct Taken {
    bool closed = false;
    bool inDoubt = false;
    bool mismatch = false;
    uint64_t inputBytes = 0;    // waiting in the journal
    uint64_t outputBytes = 0;   // in the mailbox, not yet sent
    uint64_t quietSinceUs = 0;  // monotonic; 0: since the news of the death
    uint32_t reconcileUs = 0;   // spent on it: the kernel asked, windows rebuilt
  };
  using Send = std::function<void(const control::TookOver&)>;
  // `flows`: the session can submit again, or has ended.
  TakeoverLedger(Send send, std::function<bool(SlotRef)> flows)
      : send_(std::move(send)), flows_(std::move(flows)) {}

  void expect(SlotRef ref, WorkerId from, bool planned);  // its descriptor was asked for
  void taken(SlotRef ref, const Taken& session);
  void lost(SlotRef ref);     // no process has its descriptor
  void notOurs(SlotRef ref);  // somebody else has it by now
  void look();                // end of a turn: who flows again
  void tick();                // sends what has changed

  static uint32_t stallBucket(uint64_t microseconds);

 private:
  struct Source {
    control::TookOver figures;
    uint64_t sinceUs = 0;
    uint32_t stalled = 0;  // taken, cannot submit yet
    bool changed = false;
  };
  struct Stalled {
    SlotRef ref;
    uint64_t sinceUs;
    size_t source;
  };
  size_t sourceOf(WorkerId from, bool planned);
  Source* arrived(SlotRef ref);
  void noteProgress(Source& source);
  void report(Source& source);

  Send send_;
  std::function<bool(SlotRef)> flows_;
  std::vector<Source> sources_;
  std::unordered_map<uint32_t, size_t> waiting_;  // slot -> source
  std::vector<Stalled> stalled_;
};

}  // namespace ppx
