// The kinds of value that the configuration knows: how each is written, checked and printed.
//
// Pure functions without TOML: supervisor/config_reader.cpp turns a TOML value into one of these, and the
// schema (supervisor/config_schema.h) names the kind and the range of each key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace ppx {

enum class ValueKind : std::uint8_t {
  kPath,          // any string; empty: none
  kToken,         // visible ASCII, no blanks; empty: none
  kHost,          // host name or IP address, not resolved here
  kName,          // of a listener or a pool; ends up in metrics
  kInteger,       //
  kBytes,         // integer, or "64KiB", "1MiB", "2GiB"
  kDuration,      // seconds (integer or float), or "250ms", "5s", "2m", "1h", "1d"; in milliseconds
  kWholeSeconds,  // a duration that the kernel takes in seconds
  kChoice,        // one of a few words; its index
};

// A checked value: a number (milliseconds, bytes, a choice's index) or a string.
using ConfigValue = std::variant<std::int64_t, std::string>;

// What a value may be. min and max are in the kind's unit.
struct ValueRule {
  ValueKind kind = ValueKind::kInteger;
  std::int64_t min = 0;
  std::int64_t max = 0;
  std::span<const std::string_view> choices{};
};

// Each takes one written form and gives the checked value, or nothing if the rule does not allow it.
std::optional<ConfigValue> valueFromInteger(const ValueRule& rule, std::int64_t number);
std::optional<ConfigValue> valueFromFloat(const ValueRule& rule, double number);
std::optional<ConfigValue> valueFromText(const ValueRule& rule, std::string_view text);

// "an integer from 0 to 65535": what an error says was expected.
std::string expectation(const ValueRule& rule);

// As a person would write it in the file: 65535, "64KiB", "5s", "close".
std::string valueText(const ValueRule& rule, const ConfigValue& value);

// One line: control characters escaped, the rest of a long text cut off.
std::string printableText(std::string_view text, std::size_t most);

// The same in quotation marks, and short.
std::string quotedText(std::string_view text);

}  // namespace ppx
