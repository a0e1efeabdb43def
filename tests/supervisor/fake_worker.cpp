// A worker that does nothing but what the control protocol asks. Its role is in its name (paradox-forwarder);
// PPX_FAKE_<role> says how it misbehaves: "exit" ends at once with code 3, "deaf" does not hear Stop, "mute"
// is never ready.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/control_client.h"
#include "common/log.h"

namespace {

ppx::WorkerRole roleOf(const std::string& program) {
  for (auto role : {ppx::WorkerRole::kForwarder, ppx::WorkerRole::kAcceptor, ppx::WorkerRole::kProber,
                    ppx::WorkerRole::kCustodian})
    if (program.ends_with(std::string("paradox-").append(ppx::workerRoleName(role)))) return role;
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace ppx;
  WorkerIdentity identity = parseWorkerArguments(roleOf(argv[0]), argc, argv);
  const char* given = std::getenv((std::string("PPX_FAKE_") + workerRoleName(identity.role)).c_str());
  std::string manner = given == nullptr ? "" : given;
  if (manner == "exit") return 3;
  startLog(std::string("fake-") + workerRoleName(identity.role));
  boost::asio::io_context io(1);
  ControlClient* client = nullptr;
  ControlClient::Handlers handlers;
  bool acceptor = identity.role == WorkerRole::kAcceptor;
  handlers.welcome = [&](Table&, Doorbells&) {
    if (!acceptor && manner != "mute") client->ready();
  };
  handlers.listeners = [&](std::vector<UniqueFd> sockets, std::vector<uint8_t>) {
    spdlog::info("got {} listeners", sockets.size());
    if (manner != "mute") client->ready();
  };
  handlers.workerDied = [&](const control::WorkerDied& died) {
    spdlog::info("heard that row {} incarnation {} died", died.row, died.incarnation);
  };
  handlers.stop = [&](uint32_t) {
    if (manner != "deaf") client->leave();
  };
  ControlClient control(io, identity, std::move(handlers));
  client = &control;
  control.start();
  io.run();
  return 0;
}
