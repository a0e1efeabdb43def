// Errors from peers and from the system as values.
#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

namespace ppx {

struct Error {
  int code = 0;      // an errno value, or 0 where none fits
  std::string text;  // one line for a person: what was tried and what failed
};

// An Error from errno, worded "what: strerror".
Error systemError(std::string what, int code = errno);

// A value or an Error. Reading the wrong side is a broken invariant and ends the process.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace ppx
