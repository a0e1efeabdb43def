// The shared table as a process sees it: one mapping of the memfd, and typed access to its parts.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <memory>

#include "common/hint_bitmap.h"
#include "common/lane_row.h"
#include "common/result.h"
#include "common/rows.h"
#include "common/segment.h"
#include "common/session_slot.h"
#include "common/slot_word.h"
#include "common/unique_fd.h"
#include "common/upstream_slot.h"
#include "common/uuid.h"

namespace ppx {

// Movable; accessors are valid while it lives and may be used from any thread. Indices are the caller's to
// bound (an index out of range is a broken invariant and aborts).
class Table {
 public:
  // A new memfd: sized, formatted, prefaulted and sealed against resizing.
  static Result<Table> create(const TableSizes& sizes);
  // Maps a memfd that somebody else made. Checks seals, magic, version and sizes; a table that does not fit
  // is refused.
  static Result<Table> map(UniqueFd memfd);

  int memfd() const { return memfd_.get(); }
  size_t bytes() const { return region_->get_size(); }
  TableHeader& header() const { return *header_; }
  const TableSizes& sizes() const { return header_->sizes; }
  UuidKey uuidKey() const { return {header_->uuidKey[0], header_->uuidKey[1]}; }

  ListenerRow& listener(uint32_t index) const;
  PoolRow& pool(uint32_t index) const;
  WorkerRow& worker(uint32_t row) const;
  UpstreamSlot& upstream(uint32_t index) const;
  SessionSlot& session(uint32_t index) const;
  SegmentHeader& segment(uint32_t index) const;
  std::byte* segmentData(uint32_t index) const;
  Atomic<uint32_t>* addressTags() const;  // sizes().sessionSlots of them; 0 = no session

  // Minor 1. Lane upstream * kMaxForwarders + row.
  bool hasLanes() const { return header_->lanes != 0; }
  LaneRow& lane(uint32_t index) const;

  uint32_t segmentCount() const { return sizes().inSegments + sizes().outSegments; }
  HintBitmap slotHints() const;
  HintBitmap inHints() const;   // bit i is segment i
  HintBitmap outHints() const;  // bit i is segment sizes().inSegments + i
  DirtySet dirtySet(uint8_t forwarderRow) const;

 private:
  Table(UniqueFd memfd, std::unique_ptr<boost::interprocess::mapped_region> region);
  static Result<Table> mapChecked(UniqueFd memfd, size_t bytes);
  template <typename T>
  T* at(uint64_t offset) const {
    return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(header_) + offset);
  }

  UniqueFd memfd_;
  std::unique_ptr<boost::interprocess::mapped_region> region_;
  TableHeader* header_ = nullptr;
};

// A broken invariant: says why on stderr and aborts.
[[noreturn]] void invariantBroken(const char* what, const char* file, int line);
#define PPX_INVARIANT(condition) \
  ((condition) ? void(0) : ::ppx::invariantBroken(#condition, __FILE__, __LINE__))

}  // namespace ppx
