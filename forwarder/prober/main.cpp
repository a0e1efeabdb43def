// paradox-prober: a worker of paradoxd that asks upstreams whether they are ready and alive.
#include <csignal>
#include <memory>

#include "common/control_client.h"
#include "common/log.h"
#include "forwarder/prober/prober.h"

int main(int argc, char** argv) {
  using namespace ppx;
  WorkerIdentity identity = parseWorkerArguments(WorkerRole::kProber, argc, argv);
  startLog("prober", LogOrigin{identity.id.row, identity.id.incarnation});
  std::signal(SIGPIPE, SIG_IGN);
  // Ctrl-C reaches the whole process group; who stops is the supervisor's to say.
  std::signal(SIGINT, SIG_IGN);

  boost::asio::io_context io{1};
  std::unique_ptr<Prober> prober;
  std::unique_ptr<ControlClient> client;
  ControlClient::Handlers handlers;
  handlers.welcome = [&](Table& table, Doorbells& doorbells) {
    prober = std::make_unique<Prober>(io, table, doorbells, [&](uint32_t slot, uint32_t generation) {
      client->upstreamChanged(slot, generation);
    });
    if (Status status = prober->start(); !status) {
      spdlog::critical("{}", status.error().text);
      ::_exit(1);
    }
    client->ready();
  };
  handlers.stop = [&](uint32_t) { client->leave(); };
  client = std::make_unique<ControlClient>(io, std::move(identity), std::move(handlers));
  client->start();
  io.run();
  return 0;
}
