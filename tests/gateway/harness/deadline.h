// A point in time after which a wait has failed. Waits of the harness throw std::runtime_error then: GoogleTest
// reports it as the test's failure, and destructors clean up.
#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>

namespace ppx::test {

using namespace std::chrono_literals;
using Millis = std::chrono::milliseconds;

// Generous: it is only ever used up by a failure, and the machine may be busy with other tests.
inline constexpr Millis kPatience = 20s;

class Deadline {
 public:
  explicit Deadline(Millis within) : at_(std::chrono::steady_clock::now() + within) {}
  bool passed() const { return std::chrono::steady_clock::now() >= at_; }
  // For poll(): never negative.
  int left() const {
    auto left = std::chrono::duration_cast<Millis>(at_ - std::chrono::steady_clock::now()).count();
    return left > 0 ? static_cast<int>(left) : 0;
  }

 private:
  std::chrono::steady_clock::time_point at_;
};

// For what tells no event, such as figures of another process: asks until it holds. Throws with `what`.
void waitUntil(const std::string& what, const std::function<bool()>& holds, Millis within = kPatience);

// Seconds that a call took.
template <typename Call>
double secondsOf(Call&& call) {
  auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace ppx::test
