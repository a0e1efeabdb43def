#include "acceptor/admission.h"

#include "common/sip_hash.h"

namespace ppx {

Admission::Admission(const Table& table, const Doorbells& doorbells, WorkerId self)
    : table_(table), doorbells_(doorbells), sessions_(table), self_(self), nextSlot_(0) {}

std::optional<SlotRef> Admission::claim() {
  auto ref = sessions_.claim(self_, nextSlot_);
  if (ref) nextSlot_ = (ref->slot + 1) % table_.sizes().sessionSlots;
  return ref;
}

bool Admission::refusesWhenFull() const {
  return table_.header().refuseAtLimit.load(std::memory_order_relaxed) != 0;
}

void Admission::askForSlot() {
  table_.header().acceptorsWaiting.fetch_or(1u << (self_.row - kFirstAcceptorRow));
}

void Admission::giveBack(SlotRef ref) {
  if (!sessions_.release(ref, self_)) return;
  nextSlot_ = ref.slot;
  doorbells_.slotReleased(table_);
}

uint32_t Admission::addressTag(const PeerAddress& peer) const {
  uint64_t hash = sipHash(table_.uuidKey(), peer.high, peer.low);
  uint32_t tag = static_cast<uint32_t>(hash ^ hash >> 32);
  return tag == 0 ? 1 : tag;
}

bool Admission::tooManyFrom(uint32_t addressTag) const {
  uint32_t limit = table_.header().maxPerAddress.load(std::memory_order_relaxed);
  return limit != 0 && sessions_.countAddress(addressTag) > limit;
}

}  // namespace ppx
