// paradox-custodian: see custodian.h. When the supervisor dies it lives on; when it is told to stop it
// leaves; when it is told to renew (or SIGUSR2) it becomes the program that is on disk by then.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "common/control_client.h"
#include "common/failpoint.h"
#include "common/limits.h"
#include "common/log.h"
#include "supervisor/custodian/custodian.h"
#include "supervisor/custodian/custody_turn.h"
#include "supervisor/custodian/renewal.h"

namespace {

void renewOnSignal(boost::asio::signal_set& signals, const std::function<void()>& renew) {
  signals.async_wait([&signals, renew](const boost::system::error_code& error, int) {
    if (error) return;
    renew();
    renewOnSignal(signals, renew);
  });
}

}  // namespace

int main(int argc, char** argv) {
  using namespace ppx;
  constexpr int kTryAgain = 75;  // EX_TEMPFAIL
  startLog("custodian", LogOrigin{kCustodianRow, 0});
  std::optional<Succession> succession = takeSuccession(argc, argv);
  WorkerIdentity identity = parseWorkerArguments(WorkerRole::kCustodian, argc, argv);
  setLogIncarnation(identity.id.incarnation);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches the whole process group; the supervisor tells us when to leave

  boost::asio::io_context io(1);
  WorkerRow* row = nullptr;
  Custodian custodian(io, identity.runtimeDir, raiseDescriptorLimit(), [&](size_t held) {
    if (row != nullptr) row->sessions.store(held, std::memory_order_relaxed);
  });
  if (succession) {
    custodian.succeed(*succession);
    spdlog::info("goes on with {} descriptors", custodian.held());
  } else {
    auto turn = custodyTurn(identity.runtimeDir);
    Status listening = turn ? custodian.listen() : Status(turn.error());
    if (!listening) {
      spdlog::critical("{}", listening.error().text);
      return kTryAgain;
    }
  }

  Renewal renewal(io, thisProgram(argc, argv), [&] { return custodian.handOn(); });
  ControlClient* client = nullptr;
  ControlClient::Handlers handlers;
  handlers.welcome = [&](Table& table, Doorbells&) {
    row = &table.worker(kCustodianRow);
    row->sessions.store(custodian.held(), std::memory_order_relaxed);
    client->ready();
    if (std::exchange(succession, std::nullopt)) client->renewed(true, "");
  };
  handlers.stop = [&](uint32_t) {
    giveUpCustodySocket(identity.runtimeDir);
    client->leave();
  };
  auto renew = [&] { renewal.begin([&](const std::string& reason) { client->renewed(false, reason); }); };
  handlers.renew = renew;
  ControlClient control(io, identity, std::move(handlers));
  client = &control;
  control.start();
  boost::asio::signal_set signals(io, SIGUSR2);
  renewOnSignal(signals, renew);
  unblockRenewal();
  io.run();
  return 0;
}
