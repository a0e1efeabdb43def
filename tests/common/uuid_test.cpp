#include "common/uuid.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>

namespace ppx {
namespace {

constexpr UuidKey kKey{0x0123456789abcdef, 0xfedcba9876543210};

TEST(Uuid, TextGoesThereAndBack) {
  RandomSource random;
  for (int i = 0; i < 1000; ++i) {
    Uuid uuid = randomUuid(random);
    std::string text = uuidText(uuid);
    ASSERT_EQ(parseUuid(text), uuid) << text;
    EXPECT_EQ(text[14], '4');
    EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos) << text;
  }
}

TEST(Uuid, ReadsUpperCaseAndWritesLower) {
  auto uuid = parseUuid("0123ABCD-4567-4F89-8ABC-DEF012345678");
  ASSERT_TRUE(uuid);
  EXPECT_EQ(uuid->high, 0x0123abcd45674f89u);
  EXPECT_EQ(uuid->low, 0x8abcdef012345678u);
  EXPECT_EQ(uuidText(*uuid), "0123abcd-4567-4f89-8abc-def012345678");
}

TEST(Uuid, RefusesWhatIsNoVersion4) {
  const char* wrong[] = {
      "",
      "0123abcd-4567-4f89-8abc-def01234567",    // short
      "0123abcd-4567-4f89-8abc-def0123456789",  // long
      "0123abcd-4567-1f89-8abc-def012345678",   // version 1
      "0123abcd-4567-4f89-0abc-def012345678",   // variant
      "0123abcd-4567-4f89-cabc-def012345678",   // variant
      "0123abcd-4567-4f89-8abc_def012345678",   // no dash
      "0123abcd4-567-4f89-8abc-def012345678",   // dash elsewhere
      "g123abcd-4567-4f89-8abc-def012345678",   // no digit
      " 123abcd-4567-4f89-8abc-def012345678",
      "{123abcd-4567-4f89-8abc-def01234567}",
      "00000000-0000-0000-0000-000000000000",
  };
  for (const char* text : wrong) EXPECT_FALSE(parseUuid(text)) << text;
  std::string zero = "0123abcd-4567-4f89-8abc-def012345678";
  zero[5] = '\0';
  EXPECT_FALSE(parseUuid(zero));
}

TEST(Uuid, EveryOtherByteInAnyPlaceIsRefusedOrHexadecimal) {
  const std::string good = "0123abcd-4567-4f89-8abc-def012345678";
  for (size_t at = 0; at < good.size(); ++at)
    for (int byte = 0; byte < 256; ++byte) {
      std::string text = good;
      text[at] = static_cast<char>(byte);
      auto uuid = parseUuid(text);
      if (!uuid) continue;
      for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      ASSERT_EQ(uuidText(*uuid), text);
    }
}

TEST(Uuid, SessionUuidLeadsBackToItsSlot) {
  RandomSource random;
  for (uint32_t slot = 0; slot < (1u << 20); slot += 997) {
    Uuid uuid = makeSessionUuid(kKey, slot, random);
    ASSERT_EQ(slotOfUuid(kKey, uuid), slot);
    ASSERT_EQ(parseUuid(uuidText(uuid)), uuid);
  }
}

TEST(Uuid, ForeignUuidsLeadNearlyAlwaysOutOfRange) {
  RandomSource random;
  int inRange = 0;
  for (int i = 0; i < 10000; ++i) inRange += slotOfUuid(kKey, randomUuid(random)) < 16384 ? 1 : 0;
  EXPECT_LT(inRange, 10);  // one in 262,144 is
}

TEST(Uuid, TheSlotCannotBeReadWithoutTheKey) {
  RandomSource random;
  // Of one slot: each of the 122 free bits is set in about half of them, the masked ones too.
  constexpr int kCount = 4096;
  int set[128] = {};
  for (int i = 0; i < kCount; ++i) {
    Uuid uuid = makeSessionUuid(kKey, 5, random);
    for (int bit = 0; bit < 64; ++bit) {
      set[bit] += static_cast<int>(uuid.low >> bit & 1);
      set[64 + bit] += static_cast<int>(uuid.high >> bit & 1);
    }
    EXPECT_NE(slotOfUuid({kKey[0] ^ 1, kKey[1]}, uuid), 5u);
  }
  for (int bit = 0; bit < 128; ++bit) {
    if (bit >= 64 + 12 && bit < 64 + 16) continue;  // version
    if (bit >= 62 && bit < 64) continue;            // variant
    EXPECT_NEAR(set[bit], kCount / 2, 250) << bit;  // about eight standard deviations
  }
}

TEST(Uuid, NeverTheSameTwice) {
  RandomSource random;
  std::set<std::pair<uint64_t, uint64_t>> seen;
  for (int i = 0; i < 20000; ++i) {
    Uuid uuid = makeSessionUuid(kKey, 1, random);
    ASSERT_TRUE(seen.emplace(uuid.high, uuid.low).second);
  }
}

// The reference implementation's vector for the 16 bytes 00 .. 0f under the key 00 .. 0f.
TEST(SipHash, GivesTheReferenceVector) {
  EXPECT_EQ(sipHash({0x0706050403020100, 0x0f0e0d0c0b0a0908}, 0x0706050403020100, 0x0f0e0d0c0b0a0908),
            0x3f2acc7f57c29bdbu);
}

}  // namespace
}  // namespace ppx
