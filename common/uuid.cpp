#include "common/uuid.h"

#include <sys/random.h>

#include "common/sip_hash.h"
#include "common/table.h"

namespace ppx {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr uint64_t kVersionBits = 0x4000;
constexpr uint64_t kVersionMask = 0xf000;
constexpr uint64_t kVariantBits = 1ull << 63;
constexpr uint64_t kVariantMask = 3ull << 62;

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr bool isDash(size_t position) {
  return position == 8 || position == 13 || position == 18 || position == 23;
}

uint32_t mask(const UuidKey& key, const Uuid& uuid) {
  return static_cast<uint32_t>(sipHash(key, uuid.high, uuid.low >> 32));
}

}  // namespace

void writeUuidText(const Uuid& uuid, char* out) {
  int shift = 60;
  uint64_t word = uuid.high;
  for (size_t i = 0; i < kUuidTextBytes; ++i) {
    if (isDash(i)) {
      out[i] = '-';
      continue;
    }
    out[i] = kHex[word >> shift & 15];
    shift -= 4;
    if (shift < 0) {
      word = uuid.low;
      shift = 60;
    }
  }
}

std::string uuidText(const Uuid& uuid) {
  std::string text(kUuidTextBytes, '\0');
  writeUuidText(uuid, text.data());
  return text;
}

std::optional<Uuid> parseUuid(std::string_view text) {
  if (text.size() != kUuidTextBytes) return std::nullopt;
  uint64_t words[2] = {0, 0};
  int digits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (isDash(i)) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    int value = nibble(text[i]);
    if (value < 0) return std::nullopt;
    words[digits / 16] = words[digits / 16] << 4 | static_cast<uint64_t>(value);
    ++digits;
  }
  Uuid uuid{words[0], words[1]};
  if ((uuid.high & kVersionMask) != kVersionBits || (uuid.low & kVariantMask) != kVariantBits)
    return std::nullopt;
  return uuid;
}

uint64_t RandomSource::next() {
  if (used_ == block_.size()) {
    // The kernel never gives less than asked up to 256 bytes only; larger reads may be cut by a signal.
    size_t filled = 0;
    while (filled < sizeof(block_)) {
      ssize_t got = getrandom(reinterpret_cast<char*>(block_.data()) + filled, sizeof(block_) - filled, 0);
      PPX_INVARIANT(got > 0 || errno == EINTR);
      if (got > 0) filled += static_cast<size_t>(got);
    }
    used_ = 0;
  }
  uint64_t word = block_[used_];
  block_[used_++] = 0;  // a UUID that was given out is not found in memory again
  return word;
}

Uuid randomUuid(RandomSource& random) {
  return {(random.next() & ~kVersionMask) | kVersionBits, (random.next() & ~kVariantMask) | kVariantBits};
}

Uuid makeSessionUuid(const UuidKey& key, uint32_t slot, RandomSource& random) {
  Uuid uuid = randomUuid(random);
  uuid.low = (uuid.low & ~0xffffffffull) | (slot ^ mask(key, uuid));
  return uuid;
}

uint32_t slotOfUuid(const UuidKey& key, const Uuid& uuid) {
  return static_cast<uint32_t>(uuid.low) ^ mask(key, uuid);
}

}  // namespace ppx
