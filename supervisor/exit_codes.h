// How paradoxd ends, in the words of sysexits.h: what a script or systemd can go by.
#pragma once

#include <string>

namespace ppx {

inline constexpr int kExitOrderly = 0;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitTryAgain = 75;       // temporary: a port is taken, the lock is held
inline constexpr int kExitConfiguration = 78;  // permanent: starting again does not help

// Why the gateway does not start; the text is one line for a person.
struct StartFailure {
  int exitCode = kExitTryAgain;
  std::string text;
};

}  // namespace ppx
