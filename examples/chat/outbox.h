// What a room says in answer to one payload: texts in order, neighbours for the same target joined.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ppx::examples {

struct Outgoing {
  std::optional<std::string> client;  // none: everybody
  std::string text;
};

class Outbox {
 public:
  void tell(std::string_view client, std::string_view text) { add(std::string(client), text); }
  void tellAll(std::string_view text) { add(std::nullopt, text); }

  // One payload can hold thousands of commands with long answers.
  bool isFull() const { return size_ >= kMostBytes; }

  std::vector<Outgoing> take() { return std::move(messages_); }

 private:
  static constexpr std::size_t kJoinUpTo = 32 * 1024;
  static constexpr std::size_t kMostBytes = 512 * 1024;

  void add(std::optional<std::string> client, std::string_view text) {
    // A burst of lines costs one message, not one a line.
    if (messages_.empty() || messages_.back().client != client || messages_.back().text.size() >= kJoinUpTo) {
      messages_.push_back({std::move(client), {}});
    }
    messages_.back().text += text;
    size_ += text.size();
  }

  std::vector<Outgoing> messages_;
  std::size_t size_ = 0;
};

}  // namespace ppx::examples
