// The word that says who owns a session slot. It changes only by compare-and-swap from an exact value.
//
//   63   60 59      52 51                        26 25                         0
//  +-------+----------+----------------------------+----------------------------+
//  | state |  worker  |        incarnation         |         generation         |
//  +-------+----------+----------------------------+----------------------------+
//
// Generation counts the lives of the slot: a reference {slot, generation} names one session for ever.
// Incarnations are never reused, so a word names one process for ever.
#pragma once

#include <cstdint>

namespace ppx {

enum class SlotState : uint8_t {
  kFree = 0,     // nobody's
  kClaimed = 1,  // an acceptor fills it; not yet a session for anybody else
  kHandoff = 2,  // a session on its way to forwarder `worker`; takes mail
  kOwned = 3,    // the forwarder's {worker, incarnation}; takes mail
  kClosing = 4,  // its owner ends it; takes no mail
};

inline constexpr uint32_t kGenerationMask = (1u << 26) - 1;
inline constexpr uint32_t kIncarnationMask = (1u << 26) - 1;

struct SlotWord {
  SlotState state = SlotState::kFree;
  uint8_t worker = 0;        // row of the owner in the table
  uint32_t incarnation = 0;  // of the owner; 0 in kFree and kHandoff
  uint32_t generation = 0;

  static constexpr SlotWord decode(uint64_t raw) {
    return {static_cast<SlotState>(raw >> 60), static_cast<uint8_t>(raw >> 52),
            static_cast<uint32_t>(raw >> 26) & kIncarnationMask,
            static_cast<uint32_t>(raw) & kGenerationMask};
  }
  constexpr uint64_t encode() const {
    return static_cast<uint64_t>(state) << 60 | static_cast<uint64_t>(worker) << 52 |
           static_cast<uint64_t>(incarnation & kIncarnationMask) << 26 | (generation & kGenerationMask);
  }
  bool operator==(const SlotWord&) const = default;
};

// One session, for ever.
struct SlotRef {
  uint32_t slot = 0;
  uint32_t generation = 0;
  bool operator==(const SlotRef&) const = default;
};

constexpr bool takesMail(SlotState state) {
  return state == SlotState::kHandoff || state == SlotState::kOwned;
}

const char* slotStateName(SlotState state);

}  // namespace ppx
