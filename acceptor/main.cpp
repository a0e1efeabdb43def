// paradox-acceptor: see acceptor.h. When the supervisor dies it goes on; when it is told to stop it hands off
// what it has accepted and leaves.
#include <signal.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "acceptor/acceptor.h"
#include "common/control_client.h"
#include "common/limits.h"
#include "common/log.h"

int main(int argc, char** argv) {
  using namespace ppx;
  WorkerIdentity identity = parseWorkerArguments(WorkerRole::kAcceptor, argc, argv);
  startLog("acceptor-" + std::to_string(identity.id.row - kFirstAcceptorRow),
           LogOrigin{identity.id.row, identity.id.incarnation});
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches the whole process group; the supervisor tells us when to leave
  raiseDescriptorLimit();

  boost::asio::io_context io(1);
  std::optional<Acceptor> acceptor;
  ControlClient* client = nullptr;
  ControlClient::Handlers handlers;
  handlers.welcome = [&](Table& table, Doorbells& doorbells) {
    acceptor.emplace(io, identity.runtimeDir, identity.id, table, doorbells);
  };
  handlers.listeners = [&](std::vector<UniqueFd> sockets, std::vector<uint8_t> rows) {
    if (!acceptor) return;
    acceptor->setListeners(std::move(sockets), rows);
    client->ready();
  };
  handlers.peersChanged = [&] {
    if (acceptor) acceptor->peersChanged();
  };
  handlers.stop = [&](uint32_t deadlineMs) {
    if (!acceptor) client->leave();
    // Some of the time is kept for leaving.
    acceptor->stop(std::chrono::milliseconds(deadlineMs - deadlineMs / 4), [&] { client->leave(); });
  };
  ControlClient control(io, identity, std::move(handlers));
  client = &control;
  control.start();
  io.run();
  return 0;
}
