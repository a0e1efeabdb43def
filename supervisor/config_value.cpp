#include "supervisor/config_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace ppx {
namespace {

constexpr std::size_t kMaxHostLength = 253;
constexpr std::size_t kMaxNameLength = 32;
constexpr std::size_t kMaxTokenLength = 256;
constexpr std::size_t kMaxPathLength = 4095;
constexpr std::size_t kMaxQuotedLength = 60;

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
constexpr std::array kDurationUnits = {Unit{"ms", 1}, Unit{"s", 1000}, Unit{"m", 60'000},
                                       Unit{"h", 3'600'000}, Unit{"d", 86'400'000}};
constexpr std::array kByteUnits = {Unit{"B", 1}, Unit{"KiB", 1 << 10}, Unit{"MiB", 1 << 20},
                                   Unit{"GiB", 1 << 30}};

// Other names that are taken for a choice: the original project's levels of logging.
struct Alias {
  std::string_view name;
  std::string_view choice;
};
constexpr std::array kAliases = {Alias{"critical", "error"}, Alias{"normal", "info"},
                                 Alias{"warning", "warn"}};

bool isAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool consistsOf(std::string_view text, std::string_view others) {
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return isAlnum(c) || others.find(c) != std::string_view::npos; });
}

bool hasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

bool isVisibleAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool isDuration(ValueKind kind) {
  return kind == ValueKind::kDuration || kind == ValueKind::kWholeSeconds;
}

std::optional<ConfigValue> inRange(const ValueRule& rule, std::int64_t number) {
  if (number < rule.min || number > rule.max) return std::nullopt;
  if (rule.kind == ValueKind::kWholeSeconds && number % 1000 != 0) return std::nullopt;
  return number;
}

std::optional<ConfigValue> durationOf(const ValueRule& rule, double milliseconds) {
  // Written so that NaN fails too. What is less than a millisecond must not silently become 0, which means
  // "off".
  if (!(milliseconds >= 0 && milliseconds <= static_cast<double>(rule.max))) return std::nullopt;
  if (milliseconds > 0 && milliseconds < 1) return std::nullopt;
  return inRange(rule, std::llround(milliseconds));
}

std::optional<ConfigValue> durationFromText(const ValueRule& rule, std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{}) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const Unit& known : kDurationUnits) {
    if (unit == known.name) return durationOf(rule, number * static_cast<double>(known.factor));
  }
  return std::nullopt;
}

std::optional<ConfigValue> bytesFromText(const ValueRule& rule, std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const Unit& known : kByteUnits) {
    if (unit != known.name) continue;
    if (number > rule.max / known.factor) return std::nullopt;
    return inRange(rule, number * known.factor);
  }
  return std::nullopt;
}

std::optional<ConfigValue> choiceFromText(const ValueRule& rule, std::string_view text) {
  std::string word(text);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  for (const Alias& alias : kAliases) {
    if (word == alias.name) word = alias.choice;
  }
  const auto found = std::find(rule.choices.begin(), rule.choices.end(), word);
  if (found == rule.choices.end()) return std::nullopt;
  return std::int64_t{found - rule.choices.begin()};
}

// In the largest unit that leaves no rest.
template <std::size_t N>
std::string inUnits(std::int64_t number, const std::array<Unit, N>& units) {
  if (number == 0) return "0";
  const Unit* best = &units.front();
  for (const Unit& unit : units) {
    if (number % unit.factor == 0) best = &unit;
  }
  return fmt::format("{}{}", number / best->factor, best->name);
}

std::string rangeText(const ValueRule& rule) {
  return fmt::format("from {} to {}", valueText({rule.kind, 0, 0, {}}, rule.min),
                     valueText({rule.kind, 0, 0, {}}, rule.max));
}

std::string choicesText(std::span<const std::string_view> choices) {
  std::string text;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) text += i + 1 == choices.size() ? " or " : ", ";
    text += fmt::format("\"{}\"", choices[i]);
  }
  return text;
}

}  // namespace

std::optional<ConfigValue> valueFromInteger(const ValueRule& rule, std::int64_t number) {
  if (isDuration(rule.kind)) return valueFromFloat(rule, static_cast<double>(number));
  if (rule.kind != ValueKind::kInteger && rule.kind != ValueKind::kBytes) return std::nullopt;
  return inRange(rule, number);
}

std::optional<ConfigValue> valueFromFloat(const ValueRule& rule, double number) {
  if (!isDuration(rule.kind)) return std::nullopt;
  return durationOf(rule, number * 1000);
}

std::optional<ConfigValue> valueFromText(const ValueRule& rule, std::string_view text) {
  const auto when = [&](bool good) -> std::optional<ConfigValue> {
    if (!good) return std::nullopt;
    return std::string(text);
  };
  switch (rule.kind) {
    case ValueKind::kPath:
      return when(text.size() <= kMaxPathLength && !hasControl(text));
    case ValueKind::kToken:
      return when(text.size() <= kMaxTokenLength && isVisibleAscii(text));
    case ValueKind::kHost:
      return when(!text.empty() && text.size() <= kMaxHostLength && consistsOf(text, ".-_:%"));
    case ValueKind::kName:
      return when(!text.empty() && text.size() <= kMaxNameLength && consistsOf(text, "_-."));
    case ValueKind::kInteger:
      return std::nullopt;
    case ValueKind::kBytes:
      return bytesFromText(rule, text);
    case ValueKind::kDuration:
    case ValueKind::kWholeSeconds:
      return durationFromText(rule, text);
    case ValueKind::kChoice:
      return choiceFromText(rule, text);
  }
  return std::nullopt;
}

std::string expectation(const ValueRule& rule) {
  switch (rule.kind) {
    case ValueKind::kPath:
      return "a file's name as a string (\"\" for none)";
    case ValueKind::kToken:
      return fmt::format("a string of up to {} visible ASCII characters without blanks (\"\" for none)",
                         kMaxTokenLength);
    case ValueKind::kHost:
      return "a host name or an IP address (IPv6 without brackets) as a string";
    case ValueKind::kName:
      return fmt::format("a name of 1 to {} letters, digits, '_', '-' or '.' as a string", kMaxNameLength);
    case ValueKind::kInteger:
      return "an integer " + rangeText(rule);
    case ValueKind::kBytes:
      return fmt::format("a size {} (bytes, or \"64KiB\", \"1MiB\")", rangeText(rule));
    case ValueKind::kDuration:
      return fmt::format("a time {} (seconds, or \"250ms\", \"5s\", \"2m\")", rangeText(rule));
    case ValueKind::kWholeSeconds:
      return fmt::format("a time in whole seconds {} (seconds, or \"5s\", \"2m\")", rangeText(rule));
    case ValueKind::kChoice:
      return choicesText(rule.choices);
  }
  return {};
}

std::string valueText(const ValueRule& rule, const ConfigValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return quotedText(*text);
  const std::int64_t number = std::get<std::int64_t>(value);
  if (rule.kind == ValueKind::kBytes) return inUnits(number, kByteUnits);
  if (isDuration(rule.kind)) return inUnits(number, kDurationUnits);
  if (rule.kind == ValueKind::kChoice) return quotedText(rule.choices[static_cast<std::size_t>(number)]);
  return std::to_string(number);
}

std::string printableText(std::string_view text, std::size_t most) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool startsCharacter = (byte & 0xc0) != 0x80;
    if (startsCharacter && result.size() >= most) return result + "...";
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result;
}

std::string quotedText(std::string_view text) {
  std::string escaped;
  for (const char c : text.substr(0, kMaxQuotedLength + 4)) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return fmt::format("\"{}\"", printableText(escaped, kMaxQuotedLength));
}

}  // namespace ppx
