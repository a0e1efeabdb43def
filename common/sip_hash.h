// SipHash-2-4 of two words: a keyed hash for values that a stranger may choose.
// After Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
#pragma once

#include <array>
#include <cstdint>

namespace ppx {

using SipKey = std::array<uint64_t, 2>;

uint64_t sipHash(const SipKey& key, uint64_t first, uint64_t second);

}  // namespace ppx
