// Claim and free journal segments. A segment is owned by its word (segment_word.h) before a byte is put into
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "common/session_table.h"
#include "common/table.h"

namespace ppx {

// One per process (hints are in the table). Any thread.
class Journal {
 public:
  Journal(const Table& table, const WorkerId& self);

  // A segment for input byte offsets [ordinal*512, +512) of a session that the caller owns; kNoSegment:
  // budget spent.
  uint32_t claimIn(SlotRef ref, uint64_t ordinal);
  // A segment for a message on its way to `ref`'s mailbox.
  uint32_t claimMail(SlotRef ref);
  // Frees a segment that holds exactly this word. False: it was not so any more.
  bool free(uint32_t segment, const SegmentWord& expected);
  // Frees whatever the segment is; for its owner only.
  void freeOwned(uint32_t segment);

  std::byte* data(uint32_t segment) const { return table_->segmentData(segment); }
  SegmentHeader& header(uint32_t segment) const { return table_->segment(segment); }
  SegmentWord word(uint32_t segment) const;
  uint16_t tag() const { return tag_; }

  // All segments that sessions hold, in one pass: for taking over sessions and for audits.
  void forEachUsed(const std::function<void(uint32_t segment, const SegmentWord&)>& visit) const;
  // The kMail and kOut segments of each slot that `wanted` names, in one pass: for
  // MailOutbox::reclaimUnreachable.
  std::unordered_map<uint32_t, std::vector<uint32_t>> outSegmentsOf(
      const std::function<bool(uint32_t slot)>& wanted) const;
  // Whether the process that claimed this kMail segment is still in its row. (Incarnations count modulo 1024
  // here: one of a thousand dead looks alive, and its garbage waits for the next.)
  bool isPusherAlive(const SegmentWord& mail) const;
  // Frees garbage that anybody may free (stale generations, mail of dead pushers to sessions that are gone)
  // and mends the free hints. Returns how many segments came back.
  uint32_t audit();
  uint32_t freeCount(SegmentKind direction) const;  // kIn or kOut; a scan

 private:
  uint32_t claim(HintBitmap hints, uint32_t base, Atomic<uint32_t>& cursor, const SegmentWord& word);
  bool isGarbage(const SegmentWord& word) const;

  const Table* table_;
  SessionTable sessions_;
  uint16_t tag_;
  Atomic<uint32_t> inCursor_;
  Atomic<uint32_t> outCursor_;
};

}  // namespace ppx
