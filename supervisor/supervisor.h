// One gateway: its table, listeners, custody, workers, from the first of them to the last.
//
//   start:  table and listeners (or those that a killed predecessor left with the custodian) -> custodian,
//           filled -> forwarders and prober -> acceptors -> ready
//   stop:   acceptors, listeners closed -> forwarders end their sessions -> prober -> custodian
//   systemctl restart: the admin API ends -> exit; the workers serve on, and the next paradoxd adopts and renews them
//
// Everything runs on the thread that calls run(); the AdminContext is the door for other threads.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "supervisor/admin_context.h"
#include "supervisor/control_server.h"
#include "supervisor/custody_keeper.h"
#include "supervisor/custody_watch.h"
#include "supervisor/exit_codes.h"
#include "supervisor/handed_sockets.h"
#include "supervisor/obituaries.h"
#include "supervisor/operations.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/service_job.h"
#include "supervisor/service_notify.h"
#include "supervisor/service_status.h"
#include "supervisor/settings_publisher.h"
#include "supervisor/status_board.h"
#include "supervisor/upgrade.h"
#include "supervisor/worker_manager.h"

namespace ppx {

class AdminServer;
struct LogSettings;
struct ReloadPlan;

class Supervisor {
 public:
  struct Options {
    std::string configFile;
    std::string programDir;                 // of the workers' programs
    bool logLevelForced = false;            // the command line has it
    ProgramImage image;                     // for an upgrade
    bool externalCustodian = false;         // a service of its own; also found by prepare() if it is there
    std::vector<HandedSocket> handed = {};  // by the service manager
  };

  // The runtime directory is locked already; it is given up when the start fails or at the orderly stop.
  Supervisor(Config config, RuntimeDir dir, Options options);
  ~Supervisor();

  // All that can fail at start: table, sockets, adoption. Nothing is spawned yet.
  std::optional<StartFailure> prepare();
  // Until an orderly stop; returns the exit code. No process of the gateway is left then.
  int run();

 private:
  enum class Phase {
    kPrepared,
    kCustodian,   // started; then filled
    kForwarders,  // and the prober
    kAcceptors,
    kServing,
    kStoppingAcceptors,
    kStoppingForwarders,
    kStoppingProber,
    kStoppingCustodian,
    kStopped,
  };

  std::optional<StartFailure> prepareAll();
  std::optional<StartFailure> missingPrograms() const;
  std::optional<StartFailure> makeTable();
  void endOrphans();
  std::optional<StartFailure> adoptTable(Inheritance inheritance);
  std::optional<StartFailure> publish();
  std::optional<StartFailure> openListeners();
  std::optional<StartFailure> openListener(const ListenerConfig& listener);
  std::optional<StartFailure> takeHanded();
  std::optional<ListenerSocket> inheritedFor(uint32_t row, const ListenerConfig& listener);
  void retireUnnamedListeners();
  void makeWorkers();

  AdminContext adminContext();
  OperationAnswer operate(const OperationRequest& request);         // any other thread
  OperationAnswer startOperation(const OperationRequest& request);  // the loop
  OperationAnswer mayOperate() const;                               // the loop
  OperationAnswer onLoop(std::function<OperationAnswer()> work);
  OperationAnswer upgrade(const OperationRequest& request);  // any other thread
  void upgradeBySignal();
  OperationAnswer reload();
  OperationAnswer loadAgain();
  void applyConfiguredLog();
  void startLogSettings();
  void resetLogSettings();
  void setLogSettings(const LogSettings& settings);
  OperationAnswer changeLog(const LogChange& change);
  OperationAnswer refuseReload(int status, const std::string& code, const std::string& why);
  OperationAnswer takeIntoUse(Config wanted);
  void publishListeners(const ReloadPlan& plan, std::map<std::string, ListenerSocket>& bound);
  void drainUpstream(const UpstreamConfig& upstream);
  void applyWorkers(const Config& before);
  void stopAdminForUpgrade();
  void exchangeProgram();
  void rollIfNoted();
  void notifyStopOfAdmin(std::function<void()> stopped);
  std::optional<StartFailure> startAdmin();
  void registerUpstreams();
  void sweepUpstreams();
  void stopAdmin();
  void advance();
  void enter(Phase phase);
  void serve();
  void listenForSignals();
  void onSignal(int signal);
  void stopOrHandOn();
  void onServiceJob(const Result<ServiceJob>& job);
  void handOn();
  void beginStop();
  void warnWhenLate();
  bool stopping() const { return phase_ >= Phase::kStoppingAcceptors; }
  void publishStatus();
  std::string statusLine() const;  // for the service manager

  Config config_;
  RuntimeDir dir_;
  Options options_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::steady_timer lateTimer_{io_};
  boost::asio::steady_timer sweepTimer_{io_};
  boost::asio::steady_timer adminDeadline_{io_};
  ServiceNotify service_{io_, [this] { return statusLine(); }};
  ServiceStatus serviceStatus_;
  StatusBoard board_;
  SupervisorStatus status_;  // its parts that do not change often
  std::map<uint32_t, UniqueFd> inheritedListeners_;
  std::map<std::string, ListenerSocket> handed_;  // by the listener's name, prepared
  std::set<uint64_t> handedCookies_;
  ListenerSockets sockets_;
  std::optional<Table> table_;
  std::optional<Doorbells> doorbells_;
  std::optional<ControlServer> control_;
  std::optional<WorkerManager> workers_;
  std::optional<CustodyKeeper> custody_;
  std::optional<CustodyWatch> custodyWatch_;
  EventLog events_;
  ObituaryBook obituaryBook_;
  std::optional<Obituaries> obituaries_;
  std::optional<Operations> operations_;
  AdminContext::UpstreamChangedHandler upstreamChanged_;
  std::unique_ptr<AdminServer> admin_;
  std::thread adminStop_;      // AdminServer::stop() waits for requests that wait for this loop
  bool adminWaited_ = false;   // it has returned, or its time is over
  bool adminStopped_ = false;  // it has returned
  std::thread upgradeThread_;
  std::optional<RollNote> rollNote_;
  boost::asio::steady_timer jobDeadline_{io_};
  bool jobAsked_ = false;     // of systemd, by a thread that may never come back
  bool jobAnswered_ = false;  // by it, or by the deadline
  bool handedOn_ = false;     // the workers are for the next paradoxd
  Phase phase_ = Phase::kPrepared;
  bool adopted_ = false;
  bool fresh_ = false;  // the table is new: nobody else lives in the directory
  bool custodyFilled_ = false;
  uint16_t adminPort_ = 0;
};

}  // namespace ppx
