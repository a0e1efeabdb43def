#include "supervisor/admin/session_census.h"

#include "common/last_sign.h"
#include "supervisor/admin/api_values.h"

namespace ppx {
namespace {

bool lives(const Table& table, const SlotWord& word) {
  return word.worker < kWorkerRows &&
         (table.worker(word.worker).incarnation.load() & kIncarnationMask) == word.incarnation;
}

bool isUnserved(const Table& table, uint32_t slot, const SlotWord& word) {
  switch (word.state) {
    case SlotState::kFree:
      return false;
    case SlotState::kClaimed:
      return word.worker < kMaxForwarders || !lives(table, word);  // its acceptor is dead
    case SlotState::kHandoff:
      return true;
    case SlotState::kOwned:
    case SlotState::kClosing:
      break;
  }
  // Who reclaims a session notes first since when nobody serves it; who serves it again takes that back.
  return !lives(table, word) || LastSign::unpack(table.session(slot).lost.load()).at != 0;
}

}  // namespace

SessionCensus countSessions(const Table& table) {
  SessionCensus census;
  const uint32_t slots = sessionSlotsInUse(table);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    const SlotWord word = SessionTable(table).word(slot);
    const auto state = static_cast<size_t>(word.state);
    if (state >= census.inState.size()) continue;
    ++census.inState[state];
    if (isUnserved(table, slot, word)) ++census.unserved;
  }
  return census;
}

}  // namespace ppx
