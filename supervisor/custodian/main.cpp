// paradox-custodian: see custodian.h. When the supervisor dies it lives on; when it is told to stop it
// leaves.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include "common/control_client.h"
#include "common/limits.h"
#include "common/log.h"
#include "supervisor/custodian/custodian.h"
#include "supervisor/custodian/custody_turn.h"

int main(int argc, char** argv) {
  using namespace ppx;
  constexpr int kTryAgain = 75;  // EX_TEMPFAIL
  WorkerIdentity identity = parseWorkerArguments(WorkerRole::kCustodian, argc, argv);
  startLog("custodian");
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches the whole process group; the supervisor tells us when to leave

  boost::asio::io_context io(1);
  WorkerRow* row = nullptr;
  Custodian custodian(io, identity.runtimeDir, raiseDescriptorLimit(), [&](size_t held) {
    if (row != nullptr) row->sessions.store(held, std::memory_order_relaxed);
  });
  {
    auto turn = custodyTurn(identity.runtimeDir);
    Status listening = turn ? custodian.listen() : Status(turn.error());
    if (!listening) {
      spdlog::critical("{}", listening.error().text);
      return kTryAgain;
    }
  }

  ControlClient* client = nullptr;
  ControlClient::Handlers handlers;
  handlers.welcome = [&](Table& table, Doorbells&) {
    row = &table.worker(kCustodianRow);
    row->sessions.store(custodian.held(), std::memory_order_relaxed);
    client->ready();
  };
  handlers.stop = [&](uint32_t) {
    giveUpCustodySocket(identity.runtimeDir);
    client->leave();
  };
  ControlClient control(io, identity, std::move(handlers));
  client = &control;
  control.start();
  io.run();
  return 0;
}
