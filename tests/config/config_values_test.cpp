#include <limits>

#include "supervisor/config_value.h"
#include "tests/config/config_testing.h"

namespace ppx {
namespace {

constexpr ValueRule kTime{ValueKind::kDuration, 0, 86'400'000, {}};
constexpr ValueRule kSize{ValueKind::kBytes, 0, std::int64_t{1} << 40, {}};

std::int64_t timeOf(std::string_view text) {
  const auto value = valueFromText(kTime, text);
  return value ? std::get<std::int64_t>(*value) : -1;
}

std::int64_t sizeOf(std::string_view text) {
  const auto value = valueFromText(kSize, text);
  return value ? std::get<std::int64_t>(*value) : -1;
}

TEST(ConfigValues, TimesAreSecondsOrHaveAUnit) {
  EXPECT_EQ(timeOf("250ms"), 250);
  EXPECT_EQ(timeOf("5s"), 5000);
  EXPECT_EQ(timeOf("1.5s"), 1500);
  EXPECT_EQ(timeOf("2m"), 120'000);
  EXPECT_EQ(timeOf("1 h"), 3'600'000);
  EXPECT_EQ(timeOf("1d"), 86'400'000);
  EXPECT_EQ(valueFromInteger(kTime, 7), ConfigValue(std::int64_t{7000}));
  EXPECT_EQ(valueFromFloat(kTime, 0.25), ConfigValue(std::int64_t{250}));
}

TEST(ConfigValues, RefusesTimesThatAreNone) {
  for (const char* text :
       {"", "s", "5", "-5s", "5 parsecs", "5S", "1e3s", "nan", "infs", "5s ", " 5s", "2d", "0.1ms"}) {
    EXPECT_EQ(timeOf(text), -1) << text;
  }
  for (const double number : {-1.0, 1e300, std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN(), 0.0001}) {
    EXPECT_FALSE(valueFromFloat(kTime, number)) << number;
  }
  EXPECT_FALSE(valueFromInteger(kTime, -1));
  EXPECT_FALSE(valueFromInteger(kTime, std::numeric_limits<std::int64_t>::max()));
}

TEST(ConfigValues, SizesAreBytesOrHaveABinaryUnit) {
  EXPECT_EQ(sizeOf("17B"), 17);
  EXPECT_EQ(sizeOf("64KiB"), 65536);
  EXPECT_EQ(sizeOf("1 MiB"), 1 << 20);
  EXPECT_EQ(sizeOf("2GiB"), std::int64_t{2} << 30);
  for (const char* text :
       {"", "64", "64KB", "64k", "-1KiB", "1.5MiB", "99999999999GiB", "99999999999999999999B"}) {
    EXPECT_EQ(sizeOf(text), -1) << text;
  }
}

TEST(ConfigValues, PrintsInTheLargestWholeUnit) {
  EXPECT_EQ(valueText(kTime, std::int64_t{0}), "0");
  EXPECT_EQ(valueText(kTime, std::int64_t{1500}), "1500ms");
  EXPECT_EQ(valueText(kTime, std::int64_t{90'000}), "90s");
  EXPECT_EQ(valueText(kTime, std::int64_t{86'400'000}), "1d");
  EXPECT_EQ(valueText(kSize, std::int64_t{65536}), "64KiB");
  EXPECT_EQ(valueText(kSize, std::int64_t{65537}), "65537B");
}

TEST(ConfigValues, QuotesSoThatAnErrorStaysOneShortLine) {
  EXPECT_EQ(quotedText("a\"b\\c\n\x7f"), "\"a\\\"b\\\\c\\x0a\\x7f\"");
  EXPECT_LT(quotedText(std::string(1000, 'x')).size(), 80U);
  // Never cuts a character in two.
  std::string umlauts;
  for (int i = 0; i < 100; ++i) umlauts += "ä";
  const std::string cut = quotedText("x" + umlauts);
  EXPECT_EQ((cut.size() - std::string("\"x...\"").size()) % 2, 0U) << cut;
}

TEST(ConfigValues, TakesTheOriginalsNamesForLogLevels) {
  EXPECT_EQ(goodConfig("[management_server]\nlog_level = 'critical'").management.logLevel, LogLevel::kError);
  EXPECT_EQ(goodConfig("[management_server]\nlog_level = 'normal'").management.logLevel, LogLevel::kInfo);
  EXPECT_EQ(goodConfig("[management_server]\nlog_level = 'DEBUG'").management.logLevel, LogLevel::kDebug);
  EXPECT_EQ(goodConfig("[management_server]\nlog_level = 'off'").management.logLevel, LogLevel::kOff);
}

}  // namespace
}  // namespace ppx
