#include "common/custody_message.h"

#include <algorithm>

namespace ppx::custody {

Message::Message(Type type, std::span<const Record> some, WorkerId worker) {
  PPX_INVARIANT(some.size() <= kMaxRecords);
  head.type = type;
  head.count = static_cast<uint16_t>(some.size());
  head.row = worker.row;
  head.incarnation = worker.incarnation;
  std::copy(some.begin(), some.end(), records);
}

bool Message::wellFormed(size_t bytes) const {
  return bytes >= sizeof(Head) && head.magic == kMagic && head.version == kVersion &&
         head.count <= kMaxRecords && bytes == sizeof(Head) + head.count * sizeof(Record);
}

}  // namespace ppx::custody
