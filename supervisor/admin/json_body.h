// Reads what a request says, its JSON body or its query, strictly: unknown fields, wrong types and values
// out of range are errors that name the field. The first error stands; what is read after it is its default.
#pragma once

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

namespace ppx {

struct FieldError {
  std::string code;     // bad_json, missing_field, bad_field, unknown_field
  std::string message;  // for a person: what was expected, what was found
  std::string field;    // empty: the body as a whole
};

class JsonBody {
 public:
  explicit JsonBody(const std::string& text);

  std::string requiredText(const std::string& field);
  std::string text(const std::string& field, const std::string& fallback);
  int64_t requiredInteger(const std::string& field, int64_t least, int64_t most);
  // Seconds, whole or not, as milliseconds.
  uint32_t seconds(const std::string& field, double fallback, double least, double most);
  // The caller found the value of a field wrong.
  void reject(const std::string& field, const std::string& expected);
  // After the last field was read: what is wrong, if anything; unknown fields too.
  std::optional<FieldError> error();

 private:
  void parse(const std::string& text);
  const nlohmann::json* find(const std::string& field);
  void fail(const std::string& code, const std::string& message, const std::string& field = {});

  nlohmann::json root_;
  std::set<std::string> known_;
  std::optional<FieldError> error_;
};

class QueryFields {
 public:
  explicit QueryFields(const httplib::Request& request) : request_(&request) {}

  uint32_t integer(const std::string& field, uint32_t fallback, uint32_t least, uint32_t most);
  std::optional<std::string> text(const std::string& field);
  void reject(const std::string& field, const std::string& expected);
  std::optional<FieldError> error();

 private:
  const httplib::Request* request_;
  std::set<std::string> known_;
  std::optional<FieldError> error_;
};

}  // namespace ppx
