// The worker processes: starts, welcomes, watches, fences, buries and stops them, each row by the transition
// table of worker_lifecycle.h. Writes the supervisor's part of the WorkerRows. The supervisor's loop only.
//
// Fencing: a row's incarnation changes, and WorkerDied goes out, only after the pidfd of the process in it
// says that it is dead. A hung one is killed first.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/doorbells.h"
#include "common/log.h"
#include "common/session_table.h"
#include "supervisor/admin_context.h"
#include "supervisor/control_server.h"
#include "supervisor/custody_keeper.h"
#include "supervisor/obituary.h"
#include "supervisor/respawn_backoff.h"
#include "supervisor/silence_watch.h"
#include "supervisor/spawner.h"
#include "supervisor/worker_lifecycle.h"

namespace ppx {

// A worker row at one moment, for operations.
struct WorkerView {
  std::string name;
  WorkerState state = WorkerState::kAbsent;
  int pid = 0;               // 0: no process
  uint64_t incarnation = 0;  // 0: no process
  uint32_t deaths = 0;       // of its processes, as long as this supervisor looks
};

class WorkerManager {
 public:
  struct Options {
    std::string runtimeDir;
    std::string programDir;  // where paradox-<role> are
    WorkersConfig workers;
    bool externalCustodian = false;  // somebody else starts it, and again when it dies
  };
  struct Handlers {
    std::function<void()> changed;  // a worker's state; on the loop, never from inside a call
    AdminContext::UpstreamChangedHandler upstreamChanged;
    std::function<void(uint8_t row, const control::HandedOver&)> handedOver;
    std::function<void(uint8_t row, const control::TookOver&)> tookOver;
    std::function<void(WorkerDeath)> died = {};          // not those that were to end
    std::function<void(const std::string&)> noted = {};  // for a person: deaths, and who serves again
    std::function<void(const control::Renewed&)> renewed = {};
  };

  WorkerManager(boost::asio::io_context& io, Options options, Table& table, const Doorbells& doorbells,
                const ListenerSockets& sockets, Handlers handlers);
  ~WorkerManager();

  // For ControlServer.
  ControlPeer::Handlers peerHandlers();

  // Takes over the processes that the table's rows name: those that live are waited for, the others' rows
  // are emptied. Before anything is started.
  void adopt();
  // Fills the rows of a role that are empty; from here on they are kept filled.
  void start(WorkerRole role);
  // Tells those of a role to leave within `deadline`; who does not is killed. None of them is started again.
  void stop(WorkerRole role, Millis deadline);
  // Timeouts.
  void configure(const WorkersConfig& workers);
  // Another number of a role's processes: more in free rows, or the last ones leave.
  void resize(WorkerRole role, uint32_t count);
  void killAll();        // and starts nobody any more
  void sendListeners();  // to all acceptors: the list has changed

  // For planned operations (worker_plans.cpp).
  WorkerView view(uint8_t row) const;
  std::vector<uint8_t> readyRows(WorkerRole role) const;
  std::optional<uint8_t> freeRow(WorkerRole role) const;
  bool anyLeaving(WorkerRole role) const;
  uint64_t sessions(uint8_t row) const { return table_.worker(row).sessions.load(); }
  // A process in an empty row, kept there from here on. As a successor of one that lives it is, to a supervisor that
  // follows this one, of no use until settle(), or until its predecessor leaves.
  void startIn(uint8_t row, std::optional<WorkerId> predecessor);
  void settle(uint8_t row);
  // Chosen no more, and not started again when it ends; it is killed after `most`. `heir`: who takes what it
  // leaves.
  void leave(uint8_t row, uint8_t heir, Millis most);
  void stay(uint8_t row);  // after leave(), after all
  void stopRow(uint8_t row, Millis deadline);
  void retire(uint8_t row,
              Millis deadline);              // the same, and the next supervisor knows that nobody is to come
  void kill(uint8_t row);                    // and nobody comes after it
  void bequeath(uint8_t row, uint8_t heir);  // and whatever its processes had goes to the heir
  // false: it has no channel
  template <typename T>
  bool send(uint8_t row, const T& message) {
    auto found = workers_.find(row);
    if (found == workers_.end() || !found->second->peer) return false;
    found->second->peer->send(message);
    return true;
  }

  // None of the role has a process.
  bool gone(WorkerRole role) const;
  bool anyReady(WorkerRole role) const;
  // At least one serves, and nobody is on the way; those that wait out a back-off hold nobody up.
  bool settled(WorkerRole role) const;
  std::vector<WorkerStatus> status() const;

  static std::vector<WorkerRole> roles();
  // paradox-<role>
  static std::string programName(WorkerRole role);

 private:
  struct Worker {
    Worker(boost::asio::io_context& io, WorkerRole itsRole, uint8_t itsRow, const WorkersConfig& config)
        : role(itsRole),
          row(itsRow),
          deathWatch(io),
          respawnTimer(io),
          stopTimer(io),
          backoff(config.respawnBackoffMin.count(), config.respawnBackoffMax.count()) {}
    WorkerRole role;
    uint8_t row;
    WorkerState state = WorkerState::kAbsent;
    Process process;  // pid 0: none
    uint64_t incarnation = 0;
    Millis readySince = 0;  // monotonic; 0: it never was
    bool wanted = false;
    uint32_t deaths = 0;
    bool comesBack = false;               // the last one died, and not by plan
    bool wasSilent = false;               // and was killed for that
    bool sentAway = false;                // killed or ended by plan
    std::optional<WorkerId> predecessor;  // whose successor it is started as, while that lives
    std::optional<uint8_t> heir;          // who takes what it leaves
    uint32_t stopDeadlineMs = 0;
    boost::asio::posix::stream_descriptor deathWatch;
    boost::asio::steady_timer respawnTimer;
    boost::asio::steady_timer stopTimer;
    RespawnBackoff backoff;
    SilenceWatch silence;
    std::shared_ptr<ControlPeer> peer;
  };

  static Millis lookIntervalOf(const WorkersConfig& workers);
  void addRows(WorkerRole role);
  void addRow(WorkerRole role, uint8_t row);
  void fire(Worker& worker, WorkerEvent event);
  void act(Worker& worker, WorkerAction action);

  void onHello(ControlPeer& peer, const control::Hello& hello, std::optional<UniqueFd> memfd);
  void onReady(ControlPeer& peer);
  void onClosed(ControlPeer& peer);
  std::string whyNot(const ControlPeer& peer, const control::Hello& hello, int memfd) const;

  void spawnInto(Worker& worker);
  void enterRow(Worker& worker, Process process, uint64_t incarnation);
  bool isExternal(const Worker& worker) const;
  bool turnHasCome(const Worker& worker) const;
  std::vector<std::string> argumentsOf(const Worker& worker, uint64_t incarnation) const;
  bool nameExternal(ControlPeer& peer, control::Hello& hello);
  void end(Worker& worker);
  void watchDeath(Worker& worker);
  void welcome(Worker& worker, bool knowsTable);
  void announce(Worker& worker);
  void bury(Worker& worker, bool respawn);
  void emptyRow(Worker& worker, bool respawn);
  void tellOfDeath(const Worker& worker, WorkerId dead, uint32_t successorRow);
  WorkerDeath deathOf(const Worker& worker) const;
  uint32_t heirOf(const Worker& worker, bool respawn) const;
  void withdraw(Worker& worker);
  void forgetRespawn(const Worker& worker);
  void stop(Worker& worker, Millis deadline);
  void killLater(Worker& worker, Millis deadline);
  void backOff(Worker& worker, Millis servedMs);
  void askToStop(Worker& worker);
  void sendListeners(Worker& worker);
  void tellPeersChanged(const Worker* except);
  void lookForSilence();
  void armLook();
  void changedSoon();
  Worker* of(ControlPeer& peer);
  static std::string nameOf(const Worker& worker);
  // A line about a worker, which names it and has it in its fields: "forwarder-1 (pid 4711) <text>".
  static void tell(LogAt level, std::string_view event, const Worker& worker, const std::string& text);
  bool adoptProcess(Worker& worker, int pid, uint64_t incarnation);
  void adoptLiving(Worker& worker);
  void adoptDead(Worker& worker);
  bool anyWanted(WorkerRole role) const;

  boost::asio::io_context& io_;
  Options options_;
  Table& table_;
  const Doorbells& doorbells_;
  const ListenerSockets& sockets_;
  Handlers handlers_;
  std::map<uint8_t, std::unique_ptr<Worker>> workers_;  // by row
  std::deque<control::WorkerDied> obituaries_;          // for those who had no channel; bounded
  boost::asio::steady_timer lookTimer_;
  Millis lookInterval_;
  Millis lastLook_;
  bool changePosted_ = false;
};

}  // namespace ppx
