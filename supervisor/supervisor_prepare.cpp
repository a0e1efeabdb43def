// The part of Supervisor that makes, or takes over, what the workers work with.
#include <signal.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/log.h"
#include "supervisor/spawner.h"
#include "supervisor/supervisor.h"
#include "supervisor/table_setup.h"
#include "supervisor/worker_identity.h"

namespace ppx {
namespace {

constexpr int kOrphanMs = 1000;

StartFailure temporary(const std::string& text) {
  return {kExitTryAgain, text};
}
StartFailure permanent(const std::string& text) {
  return {kExitConfiguration, text};
}

}  // namespace

std::optional<StartFailure> Supervisor::prepare() {
  auto failure = prepareAll();
  if (failure && fresh_) dir_.removeFiles(!options_.externalCustodian);
  if (failure && !fresh_) dir_.abandon();
  return failure;
}

std::optional<StartFailure> Supervisor::prepareAll() {
  applyConfiguredLog();
  ::signal(SIGPIPE, SIG_IGN);
  // From here on a signal waits for run().
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  signals_.add(SIGHUP);
  signals_.add(SIGUSR2);
  unblockSignals();
  rollNote_ = readRollNote(dir_);
  if (rollNote_) events_.goOnAfter(rollNote_->lastEvent);
  status_.descriptorLimit = raiseDescriptorLimit();
  if (auto failure = missingPrograms()) return failure;
  if (auto failure = makeTable()) return failure;
  if (fresh_ && rollNote_) removeRollNote(dir_), rollNote_.reset();  // those workers are gone
  startLogSettings();
  if (auto failure = publish()) return failure;
  if (auto failure = openListeners()) return failure;
  makeWorkers();
  if (Status listening = control_->listen(dir_.path()); !listening) return temporary(listening.error().text);
  publishStatus();
  return startAdmin();
}

std::optional<StartFailure> Supervisor::missingPrograms() const {
  for (WorkerRole role : WorkerManager::roles()) {
    std::string program = options_.programDir + "/" + WorkerManager::programName(role);
    if (::access(program.c_str(), X_OK) != 0)
      return permanent(systemError("the program " + program + " cannot be run").text);
  }
  return std::nullopt;
}

std::optional<StartFailure> Supervisor::makeTable() {
  options_.externalCustodian = options_.externalCustodian || externalCustodianIn(dir_.path()).has_value();
  auto inheritance = fetchInheritance(dir_.path());
  if (inheritance) return adoptTable(std::move(*inheritance));
  if (inheritance.error().code == ETIMEDOUT) return temporary(inheritance.error().text);
  // ENODATA: its supervisor was killed before any client came; the custodian is told to exit when it dials.
  auto table = createTable(config_);
  auto doorbells = Doorbells::create();
  if (!table || !doorbells) return temporary((table ? doorbells.error() : table.error()).text);
  table_ = std::move(*table);
  doorbells_ = std::move(*doorbells);
  fresh_ = true;
  endOrphans();
  return std::nullopt;
}

// Supervisor and custodian died at once: the workers that live have a table that nobody else has, and the ports. This
// process has the directory's lock, so nobody is theirs.
void Supervisor::endOrphans() {
  bool any = false;
  for (int pid : workersOf(dir_.path())) {
    auto process = openProcess(pid);
    if (!process || isDead(*process)) continue;
    any = true;
    spdlog::error("a worker (pid {}) of a gateway whose custody is lost is killed", pid);
    killNow(*process);
    awaitDeath(*process, kOrphanMs);
  }
  if (!any) return;
  // They may have given their sessions to a new custodian: nobody has the table of those, and their clients wait. Its service
  // manager starts it again.
  auto pid = externalCustodianIn(dir_.path());
  if (!pid) return;
  auto custodian = openProcess(*pid);
  if (!custodian || isDead(*custodian)) return;
  spdlog::error("the custodian (pid {}) that holds what they had is killed", *pid);
  killNow(*custodian);
  awaitDeath(*custodian, kOrphanMs);
}

std::optional<StartFailure> Supervisor::adoptTable(Inheritance inheritance) {
  auto table = Table::map(std::move(inheritance.table));
  if (!table) return permanent("the table of the predecessor cannot be used: " + table.error().text);
  auto doorbells = Doorbells::fromDescriptors(std::move(inheritance.doorbells));
  if (!doorbells) return temporary(doorbells.error().text);
  table_ = std::move(*table);
  doorbells_ = std::move(*doorbells);
  inheritedListeners_ = std::move(inheritance.listeners);
  adopted_ = true;
  logInfo("adopted", {}, "going on with the table, listeners and workers of a predecessor");
  if (table_->sizes() != tableSizes(config_))
    spdlog::warn("the sizes in [sessions] differ from the running table's; they count after a full restart");
  return std::nullopt;
}

std::optional<StartFailure> Supervisor::publish() {
  SessionCapacity capacity = sessionCapacity(config_, table_->sizes().sessionSlots, status_.descriptorLimit);
  spdlog::info("{}", capacity.text());
  if (capacity.sessions == 0)
    return permanent("the limit of open files (" + std::to_string(status_.descriptorLimit) +
                     ") allows no session: raise it (ulimit -n, LimitNOFILE=)");
  if (!SettingsPublisher(*table_).publishSettings(config_, capacity.sessions))
    return permanent("more pools than the table has rows (" + std::to_string(kMaxPools) + ")");
  status_.sessionCapacity = capacity.sessions;
  return std::nullopt;
}

std::optional<StartFailure> Supervisor::openListeners() {
  if (auto failure = takeHanded()) return failure;
  retireUnnamedListeners();
  for (const ListenerConfig& listener : config_.listeners)
    if (auto failure = openListener(listener)) return failure;
  return std::nullopt;
}

// Rows of listeners that the file does not name any more, so that their rows are free for others.
void Supervisor::retireUnnamedListeners() {
  for (uint32_t row = 0; row < kMaxListeners; ++row) {
    const ListenerRow& entry = table_->listener(row);
    if (entry.used.load() == 0) continue;
    bool named = std::any_of(config_.listeners.begin(), config_.listeners.end(),
                             [&](const ListenerConfig& each) { return each.name == entry.name; });
    if (named) continue;
    SettingsPublisher(*table_).retireListener(row);
    inheritedListeners_.erase(row);
  }
}

// Matches what systemd hands in with the listeners of the file. What nobody accepts from would let clients wait for ever: it
// keeps the gateway from starting, but not from going on with what a predecessor left.
std::optional<StartFailure> Supervisor::takeHanded() {
  for (HandedSocket& each : options_.handed) {
    std::string what =
        "systemd hands in a socket named \"" + each.name + "\" (" + boundPlace(each.descriptor.get()) + ")";
    handedCookies_.insert(socketCookie(each.descriptor.get()));
    auto config = std::find_if(config_.listeners.begin(), config_.listeners.end(),
                               [&](const ListenerConfig& listener) { return listener.name == each.name; });
    std::string problem;
    if (config == config_.listeners.end()) {
      problem = ", and no [[listener]] has that name (FileDescriptorName= of its socket unit)";
    } else if (handed_.contains(each.name)) {
      problem = ", a second one of that name: a listener has one socket";
    } else if (auto socket = prepareHanded(std::move(each.descriptor), *config); !socket) {
      problem = ": " + socket.error().text;
    } else if (config->port != 0 && config->port != socket->port) {
      problem = ", but the listener's port in the file is " + std::to_string(config->port);
    } else {
      spdlog::info("{}", what);
      handed_.emplace(each.name, std::move(*socket));
    }
    if (!problem.empty() && fresh_) return permanent(what + problem);
    if (!problem.empty()) spdlog::error("{}{}", what, problem);
  }
  options_.handed.clear();
  return std::nullopt;
}

// What a predecessor had in the row, if it is still what the file says. Sockets of systemd's go by their names alone.
std::optional<ListenerSocket> Supervisor::inheritedFor(uint32_t row, const ListenerConfig& listener) {
  auto inherited = inheritedListeners_.extract(row);
  if (inherited.empty() || handedCookies_.contains(socketCookie(inherited.mapped().get())))
    return std::nullopt;
  auto adopted = adoptListener(std::move(inherited.mapped()));
  if (!adopted || (listener.port != 0 && listener.port != adopted->port)) return std::nullopt;
  return std::move(*adopted);
}

std::optional<StartFailure> Supervisor::openListener(const ListenerConfig& listener) {
  SettingsPublisher publisher(*table_);
  auto row = publisher.rowForListener(listener.name);
  if (!row)
    return permanent("more listeners than the table has rows (" + std::to_string(kMaxListeners) + ")");
  std::optional<ListenerSocket> socket = inheritedFor(*row, listener);
  if (auto handed = handed_.find(listener.name); handed != handed_.end()) socket = std::move(handed->second);
  if (!socket) {
    auto opened = ppx::openListener(listener);
    if (!opened)
      return opened.error().code == EACCES ? permanent(opened.error().text) : temporary(opened.error().text);
    socket = std::move(*opened);
  }
  publisher.publishListener(*row, listener, config_, socket->port);
  status_.listeners.push_back({listener.name, listener.host, listener.pool, *row, socket->port});
  sockets_.emplace(*row, std::move(*socket));
  return std::nullopt;
}

}  // namespace ppx
