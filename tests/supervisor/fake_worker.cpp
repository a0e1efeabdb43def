// A worker that does nothing but what the control protocol asks. Its role is in its name (paradox-forwarder);
// PPX_FAKE_<role> says how it misbehaves: "exit" ends at once with code 3, "deaf" does not hear Stop, "mute"
// is never ready. A forwarder claims that it hands over five sessions and leaves; "holds": it is never done with
// that; "sterile": one that is started as a successor ends at once.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/control_client.h"
#include "common/log.h"

namespace {

constexpr uint32_t kSessions = 5;  // that a forwarder claims to hand over

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
  if (manner == "exit" || (manner == "sterile" && identity.predecessor)) return 3;
  startLog(std::string("fake-") + workerRoleName(identity.role),
           LogOrigin{identity.id.row, identity.id.incarnation});
  boost::asio::io_context io(1);
  ControlClient* client = nullptr;
  ControlClient::Handlers handlers;
  bool acceptor = identity.role == WorkerRole::kAcceptor;
  handlers.welcome = [&](Table&, Doorbells&) {
    if (!acceptor && manner != "mute") client->ready();
    if (!identity.predecessor) return;
    control::TookOver report;
    report.fromRow = identity.predecessor->row;
    report.fromIncarnation = identity.predecessor->incarnation;
    report.planned = 1;
    report.sessions = kSessions;
    client->tookOver(report);
  };
  handlers.listeners = [&](std::vector<UniqueFd> sockets, std::vector<uint8_t>) {
    spdlog::info("got {} listeners", sockets.size());
    if (manner != "mute") client->ready();
  };
  handlers.workerDied = [&](const control::WorkerDied& died) {
    spdlog::info("heard that row {} incarnation {} died, successor in row {}", died.row, died.incarnation,
                 died.successorRow);
  };
  handlers.handOver = [&](const control::HandOver& order) {
    if (order.id == 0 || order.targets == 0) return;
    spdlog::info("was told to hand over to row {}", order.rows[0]);
    if (manner == "holds") return;
    control::HandedOver report;
    report.id = order.id;
    report.state = control::HandedOver::State::kDone;
    report.moved = kSessions;
    client->handedOver(report);
    if (order.leave != 0) client->leave();
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
