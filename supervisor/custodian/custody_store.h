// What the custodian holds: descriptors by {kind, slot}, each with the generation that it belongs to, and per
// slot the newest generation that was dropped. Flat arrays that grow with the highest slot seen; 32 bytes a
// session. Single-threaded. Sockets of sessions are bounded by setCapacity, so that channels can still be
// accepted.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/custody_protocol.h"
#include "common/unique_fd.h"
#include "supervisor/custodian/succession.h"

namespace ppx {

class CustodyStore {
 public:
  // Records that name no place in the store come from a broken peer.
  static bool valid(const custody::Record& record);

  // How many descriptors may be held in all; of listeners, doorbells and the table any number.
  void setCapacity(size_t descriptors) { capacity_ = descriptors; }

  // Holds it, or closes it when this or a later generation was dropped or a later one is held. False: no
  // room.
  bool put(const custody::Record& record, UniqueFd descriptor);
  // Closes what is held of this generation or an earlier one, and what of them is yet to come.
  void drop(const custody::Record& record);
  // -1: not held. The store keeps it.
  int find(const custody::Record& record) const;

  size_t held() const { return held_; }
  // Writes what is held from `cursor` (0: from the start) on and moves the cursor; 0: that was all.
  size_t list(uint64_t& cursor, std::span<custody::Record> out) const;

  // All of it, for a successor; the descriptors stay the store's.
  std::vector<Succession::Held> handOn() const;
  // Into an empty store: takes over the descriptors.
  void restore(const std::vector<Succession::Held>& held);

 private:
  struct Entry {
    UniqueFd descriptor;
    uint32_t generation = 0;
    uint32_t dropped = 0;
    uint32_t anyDropped = 0;
    uint64_t uuidHigh = 0;
    uint64_t uuidLow = 0;
  };
  static_assert(sizeof(Entry) == 32);

  static constexpr size_t kKinds = 5;
  Entry& entry(const custody::Record& record);
  custody::Record recordOf(size_t kind, size_t slot) const;

  std::array<std::vector<Entry>, kKinds> entries_;  // by Kind
  size_t held_ = 0;
  size_t capacity_ = SIZE_MAX;
};

}  // namespace ppx
