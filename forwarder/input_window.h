// The inbound journal of one session: bytes that were taken from the client and not yet passed on.
//
// A byte's place is a pure function of its stream offset: segment offset / 512, position offset % 512.
// Segments are owned before recv, and recv goes straight into them. A session without waiting bytes holds
// none. The owner's thread.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "common/journal.h"

namespace ppx {

class InputWindow {
 public:
  enum class Outcome : uint8_t { kBytes, kEmpty, kEnd, kReset, kNoSegments, kError };
  struct Received {
    Outcome outcome = Outcome::kEmpty;
    uint32_t bytes = 0;
    bool more = false;  // the buffer was filled: there is probably more
    int error = 0;
  };

  // One readv of up to `limit` bytes.
  Received receive(const Table& table, Journal& journal, SlotRef ref, int socket, uint32_t limit);
  // Pieces of [from, from + limit), which the caller knows to have been received.
  void gather(const Table& table, uint64_t from, uint32_t limit, std::vector<iovec>& pieces) const;
  // Everything below `offset` was passed on: its segments are freed.
  void release(const Table& table, Journal& journal, uint64_t offset, uint64_t received);
  void discard(const Table& table, Journal& journal);
  // After a take-over: a segment that the predecessor owned, in order of ordinals.
  void adopt(const Table& table, uint32_t segment, uint64_t firstOffset);

  bool empty() const { return first_ == kNoSegment; }

 private:
  void link(const Table& table, uint32_t segment);
  uint32_t dropFirst(const Table& table, Journal& journal);

  uint32_t first_ = kNoSegment;  // chained by SegmentHeader::next
  uint32_t last_ = kNoSegment;
  uint64_t firstOffset_ = 0;  // stream offset of the first byte of first_
};

}  // namespace ppx
