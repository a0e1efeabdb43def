// One lane (common/lane_row.h) in the hands of the process that pushes its replies. One thread: that of the streams'
// completions.
#pragma once

#include <optional>
#include <string_view>

#include "common/mail_pusher.h"
#include "common/session_table.h"

namespace ppx {

class LaneWriter {
 public:
  // Takes the lane if nobody alive has it. A lane of another instance of the upstream starts again from 0.
  static std::optional<LaneWriter> claim(const Table& table, uint32_t index, const WorkerId& self,
                                         uint64_t instance);
  // Nobody alive has it.
  static bool isFree(const Table& table, uint32_t index);
  // `handedOver`: others may go on with it at once; else the same row is expected to want it again.
  void release(bool handedOver);

  uint32_t index() const { return index_; }
  uint64_t pushed() const { return row_->pushed.load(); }
  // Higher than that of everybody who has had the lane before.
  uint64_t claimNumber() const { return claim_; }
  // The process of the lane's own row waits for it.
  static bool isWanted(const Table& table, uint32_t index);

  // The next reply is to be pushed to this session, or has been already: then it is not to be pushed again.
  enum class Push : uint8_t { kDue, kDone };
  Push aim(const Table& table, uint64_t sequence, SlotRef ref);
  // Where the reply's walk stood when its last pusher died; none: nothing of it was begun.
  std::optional<SlotRef> stoodAt(uint64_t sequence) const;
  void done(uint64_t sequence);
  MailTag tag(uint64_t sequence, ImpliedAck impliedAck) const {
    return {index_, sequence, instance_, impliedAck};
  }

 private:
  LaneWriter(LaneRow& row, uint32_t index, const WorkerId& self, uint64_t instance, uint64_t claim)
      : row_(&row), index_(index), self_(self), instance_(instance), claim_(claim) {}

  LaneRow* row_;
  uint32_t index_;
  WorkerId self_;
  uint64_t instance_;
  uint64_t claim_;
};

// An upstream's instance as the table has it: never 0, different for each life of its slot.
uint64_t instanceHash(std::string_view instanceId, uint32_t generation);

// The number of a lane on the wire.
constexpr uint64_t laneNumber(uint32_t index, uint32_t generation) {
  return static_cast<uint64_t>(generation) << 32 | (index + 1);
}

}  // namespace ppx
