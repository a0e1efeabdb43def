#include "supervisor/admin/json_body.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace ppx {
namespace {

using nlohmann::json;

constexpr size_t kShownBytes = 60;  // of a value, in an error

std::string shown(const std::string& value) {
  return value.size() <= kShownBytes ? value : value.substr(0, kShownBytes) + "...";
}

std::string shown(const json& value) {
  return shown(value.dump(-1, ' ', true, json::error_handler_t::replace));
}

std::string numberText(double number) {
  return fmt::format("{}", number);
}

// "field, field and field": what may be there.
std::string listed(const std::set<std::string>& names) {
  std::string out;
  size_t left = names.size();
  for (const std::string& name : names) {
    out += name;
    if (--left > 0) out += left == 1 ? " and " : ", ";
  }
  return out;
}

// Keys that the outermost object says twice: one of the two would be lost without a word.
class DuplicateKeys {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      std::string key = parsed.get<std::string>();
      if (!seen_.insert(key).second && found.empty()) found = key;
    }
    return true;
  }
  std::string found;

 private:
  std::set<std::string> seen_;
};

}  // namespace

JsonBody::JsonBody(const std::string& text) : root_(json::object()) {
  parse(text);
}

void JsonBody::parse(const std::string& text) {
  if (text.empty()) return fail("bad_json", "the body is empty: expected a JSON object");
  DuplicateKeys duplicates;
  json parsed;
  try {
    parsed = json::parse(text, std::ref(duplicates));
  } catch (const json::parse_error& e) {
    return fail("bad_json", fmt::format("the body is not JSON: byte {} is wrong", e.byte));
  }
  if (!parsed.is_object()) return fail("bad_json", "expected a JSON object, found " + shown(parsed));
  if (!duplicates.found.empty())
    return fail("bad_field", "is there twice: " + shown(duplicates.found), shown(duplicates.found));
  root_ = std::move(parsed);
}

void JsonBody::fail(const std::string& code, const std::string& message, const std::string& field) {
  if (error_) return;
  error_ = FieldError{code, field.empty() ? message : field + ": " + message, field};
}

const json* JsonBody::find(const std::string& field) {
  known_.insert(field);
  auto found = root_.find(field);
  return found == root_.end() ? nullptr : &*found;
}

void JsonBody::reject(const std::string& field, const std::string& expected) {
  auto found = root_.find(field);
  fail("bad_field", "expected " + expected + (found == root_.end() ? "" : ", found " + shown(*found)), field);
}

std::string JsonBody::requiredText(const std::string& field) {
  const json* value = find(field);
  if (value == nullptr) {
    fail("missing_field", "is missing: expected a string", field);
    return {};
  }
  if (value->is_string()) return value->get<std::string>();
  reject(field, "a string");
  return {};
}

std::string JsonBody::text(const std::string& field, const std::string& fallback) {
  return find(field) == nullptr ? fallback : requiredText(field);
}

int64_t JsonBody::requiredInteger(const std::string& field, int64_t least, int64_t most) {
  std::string expected = fmt::format("an integer from {} to {}", least, most);
  const json* value = find(field);
  if (value == nullptr) {
    fail("missing_field", "is missing: expected " + expected, field);
    return least;
  }
  // A number too large for 64 bits is read as a float.
  bool fits = value->is_number_unsigned() ? value->get<uint64_t>() <= static_cast<uint64_t>(most) && most >= 0
                                          : value->is_number_integer() && value->get<int64_t>() <= most;
  if (fits && value->get<int64_t>() >= least) return value->get<int64_t>();
  reject(field, expected);
  return least;
}

uint32_t JsonBody::seconds(const std::string& field, double fallback, double least, double most) {
  const json* value = find(field);
  double found = fallback;
  if (value != nullptr) {
    found = value->is_number() ? value->get<double>() : -1;
    if (!(found >= least && found <= most)) {
      reject(field, fmt::format("seconds from {} to {}", numberText(least), numberText(most)));
      found = fallback;
    }
  }
  return static_cast<uint32_t>(std::llround(found * 1000));
}

std::optional<FieldError> JsonBody::error() {
  for (const auto& item : root_.items())
    if (!known_.contains(item.key()))
      fail("unknown_field", "unknown field; known are " + listed(known_), shown(item.key()));
  return error_;
}

std::optional<std::string> QueryFields::text(const std::string& field) {
  known_.insert(field);
  if (!request_->has_param(field)) return std::nullopt;
  if (request_->get_param_value_count(field) > 1) reject(field, "it once");
  return request_->get_param_value(field);
}

uint32_t QueryFields::integer(const std::string& field, uint32_t fallback, uint32_t least, uint32_t most) {
  std::optional<std::string> value = text(field);
  if (!value) return fallback;
  uint32_t number = 0;
  const char* end = value->data() + value->size();
  auto [stopped, wrong] = std::from_chars(value->data(), end, number);
  if (wrong == std::errc() && stopped == end && !value->empty() && number >= least && number <= most)
    return number;
  reject(field, fmt::format("an integer from {} to {}", least, most));
  return fallback;
}

void QueryFields::reject(const std::string& field, const std::string& expected) {
  if (error_) return;
  error_ = FieldError{
      "bad_field",
      fmt::format("{}: expected {}, found \"{}\"", field, expected, shown(request_->get_param_value(field))),
      field};
}

std::optional<FieldError> QueryFields::error() {
  for (const auto& [name, value] : request_->params)
    if (!known_.contains(name) && !error_)
      error_ = FieldError{"unknown_field",
                          fmt::format("{}: unknown parameter; {}", shown(name),
                                      known_.empty() ? "there are none here" : "known are " + listed(known_)),
                          shown(name)};
  return error_;
}

}  // namespace ppx
