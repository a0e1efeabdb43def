#include "acceptor/admission.h"

#include <bit>

namespace ppx {
namespace {

// SipHash-2-4 of two words, for keys that a stranger chooses.
uint64_t sipHash(const UuidKey& key, uint64_t first, uint64_t second) {
  uint64_t a = key[0] ^ 0x736f6d6570736575, b = key[1] ^ 0x646f72616e646f6d;
  uint64_t c = key[0] ^ 0x6c7967656e657261, d = key[1] ^ 0x7465646279746573;
  auto round = [&] {
    a += b, b = std::rotl(b, 13) ^ a, a = std::rotl(a, 32);
    c += d, d = std::rotl(d, 16) ^ c;
    a += d, d = std::rotl(d, 21) ^ a;
    c += b, b = std::rotl(b, 17) ^ c, c = std::rotl(c, 32);
  };
  for (uint64_t word : {first, second, uint64_t{16} << 56}) {
    d ^= word;
    round(), round();
    a ^= word;
  }
  c ^= 0xff;
  round(), round(), round(), round();
  return a ^ b ^ c ^ d;
}

}  // namespace

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
