#include "common/hint_bitmap.h"

#include <algorithm>
#include <bit>

namespace ppx {

std::optional<uint32_t> HintBitmap::take(uint32_t start, uint32_t limit) {
  limit = std::min(limit, size_);
  if (limit == 0) return std::nullopt;
  uint32_t wordCount = (limit + 63) / 64;
  if (start >= limit) start = 0;
  uint32_t word = start / 64;
  uint64_t wanted =
      ~0ull << start % 64;  // of the first word only the part from `start` on; its rest comes last
  for (uint32_t turn = 0; turn <= wordCount; ++turn) {
    uint64_t bits = words_[word].load() & wanted;
    while (bits != 0) {
      uint32_t index = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
      if (index >= limit) break;
      uint64_t bit = bits & -bits;
      if ((words_[word].fetch_and(~bit, std::memory_order_acq_rel) & bit) != 0) return index;
      bits &= ~bit;
    }
    wanted = ~0ull;
    word = word + 1 == wordCount ? 0 : word + 1;
  }
  return std::nullopt;
}

DirtySet::DirtySet(Atomic<uint64_t>* words, uint32_t size) {
  wordCount_ = (size + 63) / 64;
  summaryWords_ = (wordCount_ + 63) / 64;
  summary_ = words;
  words_ = words + summaryWords_;
}

void DirtySet::set(uint32_t index) {
  uint32_t word = index / 64;
  // The bit before its summary: drain() clears the summary before it looks at the bits, so one of the two
  // sees it.
  words_[word].fetch_or(1ull << index % 64);
  summary_[word / 64].fetch_or(1ull << word % 64);
}

size_t DirtySet::drain(std::span<uint32_t> out) {
  size_t count = 0;
  for (uint32_t i = 0; i < summaryWords_; ++i) {
    uint64_t marked = summary_[i].load() == 0 ? 0 : summary_[i].exchange(0);
    for (; marked != 0; marked &= marked - 1) {
      uint32_t word = i * 64 + static_cast<uint32_t>(std::countr_zero(marked));
      uint64_t bits = count < out.size() ? words_[word].exchange(0) : 0;
      for (; bits != 0 && count < out.size(); bits &= bits - 1)
        out[count++] = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
      if (count < out.size()) continue;
      // What does not fit stays set; a mark too many does no harm.
      words_[word].fetch_or(bits);
      summary_[i].fetch_or(marked);
      return count;
    }
  }
  return count;
}

void DirtySet::repair() {
  for (uint32_t word = 0; word < wordCount_; ++word)
    if (words_[word].load() != 0) summary_[word / 64].fetch_or(1ull << word % 64);
}

}  // namespace ppx
