// UUIDv4 as two words, its text, and the session UUID that leads back to its slot.
//
// Of the 122 free bits of a session's UUID 90 are random; the low 32 are slot XOR SipHash-2-4(key, random
// bits). Who does not know the key (it lives in the table's header) can neither guess a UUID nor read the
// slot out of one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/sip_hash.h"

namespace ppx {

struct Uuid {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const Uuid&) const = default;
};

inline constexpr size_t kUuidTextBytes = 36;

void writeUuidText(const Uuid& uuid, char* out);  // kUuidTextBytes, lower case, no terminator
std::string uuidText(const Uuid& uuid);
// Exactly 36 characters, any case, version and variant of a UUIDv4; everything else is none.
std::optional<Uuid> parseUuid(std::string_view text);

using UuidKey = SipKey;

// Random 64-bit words from the kernel, fetched in blocks of 4 KiB. Not thread-safe; not to be used across
// fork.
class RandomSource {
 public:
  uint64_t next();

 private:
  std::array<uint64_t, 512> block_;
  size_t used_ = 512;
};

Uuid randomUuid(RandomSource& random);
Uuid makeSessionUuid(const UuidKey& key, uint32_t slot, RandomSource& random);
// The slot that a session's UUID names; for any other UUID a random number. Compare the whole UUID with the
// slot's.
uint32_t slotOfUuid(const UuidKey& key, const Uuid& uuid);

}  // namespace ppx
