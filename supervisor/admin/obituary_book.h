// The obituaries that are kept, newest first, and what they add up to: for GET /admin/obituaries and /metrics, and as a
// text that a later supervisor goes on with. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ppx {

class ObituaryBook {
 public:
  static constexpr size_t kKept = 64;
  static constexpr std::array<double, 10> kRecoveryBounds{0.01, 0.025, 0.05, 0.1, 0.2,
                                                          0.5,  1,     2,    5,   10};  // seconds

  struct Outcome {
    uint64_t wentOn = 0, closed = 0, inDoubt = 0;      // sessions
    uint64_t bytesCarriedIn = 0, bytesCarriedOut = 0;  // given on by successors
    uint64_t bytesInDoubt = 0;                         // at most, as far as it was counted
  };
  struct Totals {
    std::map<std::pair<std::string, std::string>, uint64_t> deaths;  // by role and cause
    std::array<uint64_t, kRecoveryBounds.size() + 1> recoveries{};   // up to each bound; the last: longer
    double recoverySeconds = 0;
    Outcome outcome;
  };
  struct Recovered {
    std::optional<double> seconds;
    Outcome outcome;
  };

  // Counts it; its number, from 1.
  uint64_t open(nlohmann::ordered_json obituary, const std::string& role, const std::string& cause);
  // It has become this; counts what came of it. Once for each.
  void close(uint64_t id, nlohmann::ordered_json obituary, const Recovered& recovered);
  // After load(): those that a former supervisor opened and did not live to close. They stay as they were, `interrupted`;
  // nobody knows by now what came of them.
  std::vector<nlohmann::ordered_json> takeInterrupted();

  std::vector<nlohmann::ordered_json> newestFirst() const;
  Totals totals() const;
  // Bounded: kKept obituaries. What cannot be read is no book, and changes nothing.
  std::string save() const;
  bool load(const std::string& text);

 private:
  mutable std::mutex mutex_;
  std::deque<nlohmann::ordered_json> kept_;  // newest first; each with its "id"
  std::set<uint64_t> open_;
  uint64_t last_ = 0;
  Totals totals_;
};

}  // namespace ppx
