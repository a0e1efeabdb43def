// A new client's socket: accepting it, its options, its address, and turning it away.
#pragma once

#include <cstdint>

#include "common/result.h"
#include "common/rows.h"
#include "common/unique_fd.h"

namespace ppx {

// An IPv4 address is mapped (::ffff:a.b.c.d); the words are in network order, most significant first.
struct PeerAddress {
  uint64_t high = 0;
  uint64_t low = 0;
  uint16_t port = 0;
};

struct AcceptedClient {
  UniqueFd socket;
  PeerAddress peer;
};

// Non-blocking and close-on-exec. Errors are accept4's.
Result<AcceptedClient> acceptClient(int listener);

// What an error of accept4 means for the listener.
enum class AcceptTrouble {
  kEmpty,      // nobody waits
  kPassing,    // this client only: go on
  kResources,  // no descriptors or memory: pause
  kBroken,     // the listener cannot be used
};
AcceptTrouble acceptTrouble(int code);

// False: the connection is gone already.
bool setClientOptions(int socket, const ListenerRow& settings);
// SO_COOKIE; 0 if the kernel does not say.
uint64_t socketCookie(int socket);
// A byte stream whose counters the witness can read: plain TCP, not Multipath TCP.
bool isPlainTcp(int socket);
// Ends a connection of which no other copy exists: the client sees a reset.
void resetClient(UniqueFd socket);

}  // namespace ppx
