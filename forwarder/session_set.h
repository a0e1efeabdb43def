// The sessions that this forwarder owns, by slot.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "forwarder/session.h"

namespace ppx {

// The Asio thread. A Session lives until erase().
class SessionSet {
 public:
  explicit SessionSet(uint32_t slots) : bySlot_(slots) {}

  Session& insert(std::unique_ptr<Session> session);
  void erase(SlotRef ref);
  Session* find(SlotRef ref) const;
  Session* atSlot(uint32_t slot) const { return slot < bySlot_.size() ? bySlot_[slot].get() : nullptr; }
  size_t size() const { return count_; }
  // `visit` may end sessions (they stay until erase()), not erase them.
  template <typename Visit>
  void forEach(Visit visit) const {
    for (uint32_t slot = 0; slot < high_; ++slot)
      if (Session* session = bySlot_[slot].get()) visit(*session);
  }

 private:
  std::vector<std::unique_ptr<Session>> bySlot_;
  uint32_t high_ = 0;
  size_t count_ = 0;
};

}  // namespace ppx
