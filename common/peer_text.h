// A client's address for people and for upstreams.
#pragma once

#include <cstdint>
#include <string>

namespace ppx {

// From the words of a session slot: "192.0.2.1:4711" or "[2001:db8::1]:4711".
std::string peerText(uint64_t high, uint64_t low, uint32_t port);

}  // namespace ppx
