// One message of custody_protocol.h as it lies in memory at both ends.
#pragma once

#include <cstddef>
#include <span>

#include "common/custody_protocol.h"
#include "common/session_table.h"

namespace ppx::custody {

struct Message {
  Head head{.type = Type::kHello};
  Record records[kMaxRecords];

  Message() = default;
  Message(Type type, std::span<const Record> some, WorkerId worker = {});

  std::span<std::byte> buffer() { return std::as_writable_bytes(std::span(this, 1)); }
  std::span<const std::byte> wire() const {
    return std::as_bytes(std::span(this, 1)).first(sizeof(Head) + head.count * sizeof(Record));
  }
  std::span<Record> list() { return {records, head.count}; }
  std::span<const Record> list() const { return {records, head.count}; }
  WorkerId worker() const { return {head.row, head.incarnation}; }
  // After `bytes` were received into buffer(): magic, version and size fit.
  bool wellFormed(size_t bytes) const;
};
static_assert(sizeof(Message) == sizeof(Head) + kMaxRecords * sizeof(Record));

inline bool sameKey(const Record& a, const Record& b) {
  return a.kind == b.kind && a.slot == b.slot && a.generation == b.generation;
}

}  // namespace ppx::custody
