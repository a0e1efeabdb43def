// "1 forwarder", "2 forwarders".
#pragma once

#include <cstdint>
#include <string>

namespace ppx {

inline std::string counted(uint64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace ppx
