// Listening sockets that systemd bound and hands in (socket activation), each with the name of the listener that it is for
// (FileDescriptorName=). systemd keeps them open and hands in the same ones at each start, so one may also be among those
// that lie with the custodian: SO_COOKIE tells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "supervisor/listener_sockets.h"

namespace ppx {

struct HandedSocket {
  std::string name;
  UniqueFd descriptor;
};

// What was handed in to this process; a second call, and the program that an upgrade runs, get nothing. Before anything is
// spawned.
std::vector<HandedSocket> takeHandedSockets();

// The kernel's number of the socket, the same for all its copies; 0: it is none.
uint64_t socketCookie(int socket);

// Makes it what openListener() would have made, as far as this can be done after listen(): connections that completed before
// have urgent data out of line until they are accepted. Errors: it is not a listening TCP socket.
Result<ListenerSocket> prepareHanded(UniqueFd socket, const ListenerConfig& config);

// ADDRESS:PORT that it is bound to, for people.
std::string boundPlace(int socket);

}  // namespace ppx
