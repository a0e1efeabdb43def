// Bits in shared memory that say where to look first. A bit is only a hint: the word it points at decides, so
// a process killed between the two leaves at worst a hint that is wrong until the next audit.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "common/table_layout.h"

namespace ppx {

// One bit each for `size` things. Any process, any thread.
class HintBitmap {
 public:
  HintBitmap(Atomic<uint64_t>* words, uint32_t size) : words_(words), size_(size) {}

  static constexpr size_t bytesFor(uint32_t size) { return (static_cast<size_t>(size) + 63) / 64 * 8; }

  uint32_t size() const { return size_; }
  // In the one total order with whoever says that it waits and looks once more (Doorbells::slotReleased).
  void set(uint32_t index) { words_[index / 64].fetch_or(1ull << index % 64); }
  void clear(uint32_t index) {
    words_[index / 64].fetch_and(~(1ull << index % 64), std::memory_order_acq_rel);
  }
  bool test(uint32_t index) const {
    return (words_[index / 64].load(std::memory_order_acquire) >> index % 64 & 1) != 0;
  }
  // Clears and returns a set bit below `limit`, looking from `start` on and round; none: all were clear.
  std::optional<uint32_t> take(uint32_t start, uint32_t limit);

 private:
  Atomic<uint64_t>* words_;
  uint32_t size_;
};

// Slots that have news for one forwarder: bits with a summary above them (a bit per word), so that looking is
// cheap when little is set. set(): anybody. drain(): the forwarder of the row.
class DirtySet {
 public:
  DirtySet(Atomic<uint64_t>* words, uint32_t size);

  static constexpr size_t bytesFor(uint32_t size) {
    return HintBitmap::bytesFor(size) + HintBitmap::bytesFor((size + 63) / 64);
  }

  void set(uint32_t index);
  bool test(uint32_t index) const { return (words_[index / 64].load() >> index % 64 & 1) != 0; }
  // Takes up to out.size() of the set bits; returns how many. What does not fit stays set.
  size_t drain(std::span<uint32_t> out);
  // The summary again from the bits: a setter may have been killed between the two.
  void repair();

 private:
  Atomic<uint64_t>* summary_;
  Atomic<uint64_t>* words_;
  uint32_t summaryWords_;
  uint32_t wordCount_;
};

}  // namespace ppx
