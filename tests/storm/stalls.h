// Processes that stand still now and then, as where there are too few processors: what several of them do comes in orders
// that a quiet machine hardly ever shows.
#pragma once

#include <string>
#include <thread>

namespace ppx::test {

// While it lives, about a third of the processes that have `word` in their command line is stopped at any moment, each for
// at most kLongestStallMs. At its end all of them go on. Not for tests that stop processes themselves: it lets these go on.
class Stalls {
 public:
  static constexpr int kLongestStallMs = 300;

  Stalls(std::string word, unsigned seed);

 private:
  std::jthread thread_;
};

}  // namespace ppx::test
