#include "common/doorbells.h"

#include <sys/eventfd.h>

namespace ppx {
namespace {

constexpr size_t kBells = kMaxForwarders + kMaxAcceptors + 1;

int indexOf(uint8_t row) {
  if (row < kMaxForwarders) return row;
  if (row >= kFirstAcceptorRow && row < kFirstAcceptorRow + kMaxAcceptors) return row;
  return row == kProberRow ? static_cast<int>(kBells) - 1 : -1;
}
static_assert(kFirstAcceptorRow == kMaxForwarders && kProberRow == kFirstAcceptorRow + kMaxAcceptors);

}  // namespace

Result<Doorbells> Doorbells::create() {
  Doorbells bells;
  for (size_t i = 0; i < kBells; ++i) {
    bells.bells_.emplace_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!bells.bells_.back()) return systemError("eventfd");
  }
  return bells;
}

Result<Doorbells> Doorbells::fromDescriptors(std::vector<UniqueFd> descriptors) {
  if (descriptors.size() != kBells) return Error{EINVAL, "not as many doorbells as rows"};
  Doorbells bells;
  bells.bells_ = std::move(descriptors);
  return bells;
}

int Doorbells::descriptor(uint8_t row) const {
  int index = indexOf(row);
  PPX_INVARIANT(index >= 0);
  return bells_[static_cast<size_t>(index)].get();
}

std::vector<int> Doorbells::all() const {
  std::vector<int> out;
  for (const UniqueFd& bell : bells_) out.push_back(bell.get());
  return out;
}

void Doorbells::ring(uint8_t row) const {
  uint64_t one = 1;
  // EAGAIN: the counter is full, so it rings already.
  [[maybe_unused]] ssize_t ignored = ::write(descriptor(row), &one, sizeof(one));
}

void Doorbells::ringSlot(const Table& table, uint32_t slot) const {
  // The word is read after the push, and the owner looks at the mailbox after it took the word: one sees the
  // other.
  SlotWord word = SlotWord::decode(table.session(slot).word.load());
  if (word.state < SlotState::kHandoff || word.worker >= kMaxForwarders) return;
  table.dirtySet(word.worker).set(slot);
  if (table.worker(word.worker).doorbellRung.exchange(1) == 0) ring(word.worker);
}

void Doorbells::answered(const Table& table, uint8_t row) const {
  uint64_t count = 0;
  [[maybe_unused]] ssize_t ignored = ::read(descriptor(row), &count, sizeof(count));
  table.worker(row).doorbellRung.store(0);
}

void Doorbells::slotReleased(const Table& table) const {
  Atomic<uint32_t>& waiting = table.header().acceptorsWaiting;
  if (waiting.load() == 0) return;
  uint32_t rows = waiting.exchange(0);
  for (uint8_t i = 0; i < kMaxAcceptors; ++i)
    if ((rows >> i & 1) != 0) ring(static_cast<uint8_t>(kFirstAcceptorRow + i));
}

void Doorbells::workerDied(const Table& table) const {
  uint32_t high = table.header().sessionHighWater.load();
  for (uint32_t slot = 0; slot < high; ++slot) {
    SlotWord word = SlotWord::decode(table.session(slot).word.load());
    if (word.state >= SlotState::kHandoff && word.worker < kMaxForwarders)
      table.dirtySet(word.worker).set(slot);
  }
  // Rung whatever doorbellRung says: it is 1 for ever if the dead one had set it and not rung yet.
  for (uint8_t row = 0; row < kMaxForwarders; ++row) {
    table.dirtySet(row).repair();
    ring(row);
  }
  table.header().acceptorsWaiting.store(0);
  for (uint8_t i = 0; i < kMaxAcceptors; ++i) ring(static_cast<uint8_t>(kFirstAcceptorRow + i));
}

void Doorbells::ringAll() const {
  for (uint8_t row = 0; row < kMaxForwarders; ++row) ring(row);
  ring(kProberRow);
}

}  // namespace ppx
