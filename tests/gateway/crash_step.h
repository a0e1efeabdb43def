// A failpoint at which a test lets processes die, as a parameter of tests.
#pragma once

#include <algorithm>
#include <ostream>
#include <string>

namespace ppx::test {

struct Step {
  const char* failpoint;
  int pass;  // the process dies at its so-manieth; 0: the failpoint is not armed
};

inline void PrintTo(const Step& step, std::ostream* out) {
  *out << step.failpoint;
}

// For names of tests.
inline std::string named(std::string failpoint) {
  std::replace(failpoint.begin(), failpoint.end(), '.', '_');
  return failpoint;
}

}  // namespace ppx::test
