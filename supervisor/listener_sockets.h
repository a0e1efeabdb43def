// The sockets on which clients arrive: bound here, accepted from by the acceptors.
#pragma once

#include <cstdint>
#include <string>

#include "common/result.h"
#include "common/unique_fd.h"
#include "supervisor/config.h"

namespace ppx {

struct ListenerSocket {
  UniqueFd socket;
  uint16_t port = 0;  // the bound one
};

// Binds and listens: SO_REUSEADDR, never SO_REUSEPORT (two gateways would share a port in silence), urgent
// data inline from the first byte of each connection on. Host names are resolved; the first address that can
// be bound counts. Errors name the listener, its host and its port.
Result<ListenerSocket> openListener(const ListenerConfig& config);

// Takes over one that a predecessor bound. Fails when it is no listening socket.
Result<ListenerSocket> adoptListener(UniqueFd socket);

}  // namespace ppx
