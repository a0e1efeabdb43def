#include "forwarder/session_set.h"

#include <algorithm>

namespace ppx {

Session& SessionSet::insert(std::unique_ptr<Session> session) {
  uint32_t slot = session->ref().slot;
  PPX_INVARIANT(slot < bySlot_.size() && bySlot_[slot] == nullptr);
  bySlot_[slot] = std::move(session);
  high_ = std::max(high_, slot + 1);
  ++count_;
  return *bySlot_[slot];
}

void SessionSet::erase(SlotRef ref) {
  PPX_INVARIANT(find(ref) != nullptr);
  bySlot_[ref.slot].reset();
  --count_;
  while (high_ > 0 && bySlot_[high_ - 1] == nullptr) --high_;
}

Session* SessionSet::find(SlotRef ref) const {
  Session* session = atSlot(ref.slot);
  return session != nullptr && session->ref() == ref ? session : nullptr;
}

}  // namespace ppx
