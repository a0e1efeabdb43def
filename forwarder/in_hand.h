// Which session a forwarder's thread works on: what its successor blames if the process crashed meanwhile.
#pragma once

#include <optional>

#include "common/rows.h"
#include "common/slot_word.h"

namespace ppx {

// Marks the session in the worker's row for the lifetime of the object; they nest. The Asio thread.
class InHand {
 public:
  InHand(WorkerRow& row, SlotRef ref) : row_(row), before_(row.inHand.load(std::memory_order_relaxed)) {
    row_.inHand.store(kMark | static_cast<uint64_t>(ref.slot) << 32 | ref.generation,
                      std::memory_order_relaxed);
  }
  ~InHand() { row_.inHand.store(before_, std::memory_order_relaxed); }
  InHand(const InHand&) = delete;
  InHand& operator=(const InHand&) = delete;

  // What a dead process left in its row, once. The supervisor has cleared it if the death was not its own doing.
  static std::optional<SlotRef> takeLeft(WorkerRow& row) {
    uint64_t left = row.inHand.exchange(0);
    if ((left & kMark) == 0) return std::nullopt;
    return SlotRef{static_cast<uint32_t>((left & ~kMark) >> 32), static_cast<uint32_t>(left)};
  }

 private:
  static constexpr uint64_t kMark = uint64_t{1} << 63;
  WorkerRow& row_;
  uint64_t before_;
};

}  // namespace ppx
