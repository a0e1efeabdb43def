// The supervisor's share of custody: the table's memfd, the listeners and the doorbells lie with the
// custodian, so that a new supervisor finds them after this one was killed. The supervisor's loop only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/custody_client.h"
#include "common/doorbells.h"
#include "common/table.h"
#include "supervisor/listener_sockets.h"

namespace ppx {

// The supervisor's row where the protocols want one; no process of the table's is in it.
inline constexpr uint8_t kSupervisorRow = 63;
// Of all its records: there is one life of each, and a later put replaces an earlier one.
inline constexpr uint32_t kSupervisorGeneration = 1;

using ListenerSockets = std::map<uint32_t, ListenerSocket>;  // by row

class CustodyKeeper {
 public:
  // `sockets` may change while it lives: see refill().
  CustodyKeeper(boost::asio::io_context& io, const std::string& runtimeDir, uint32_t incarnation,
                const Table& table, const Doorbells& doorbells, const ListenerSockets& sockets);

  // Dials, and puts everything each time a custodian answers. Again: dials at once.
  void start() { client_.start(); }
  void stop() { client_.stop(); }
  // The sockets have changed: puts all again.
  void refill() { fill(); }
  // Called each time all of it is held.
  void onFilled(std::function<void()> handler) { filled_ = std::move(handler); }
  // The custodian's copies of the listeners are closed, and no longer put; `done` when it says so.
  void dropListeners(std::function<void()> done);

 private:
  void fill();
  void acknowledged(std::span<const custody::Record> records);

  const Table& table_;
  const Doorbells& doorbells_;
  const ListenerSockets& sockets_;
  UniqueFd nothing_;  // lies where a listener is no more: its predecessor's copy must not keep the port
  size_t unanswered_ = 0;
  size_t undropped_ = 0;
  bool dropped_ = false;
  std::function<void()> filled_;
  std::function<void()> droppedDone_;
  CustodyClient client_;
};

// What a killed predecessor left with the custodian.
struct Inheritance {
  UniqueFd table;
  std::vector<UniqueFd> doorbells;         // in the order of control::Welcome
  std::map<uint32_t, UniqueFd> listeners;  // by row
};

// The pid of the custodian that is there, if it was started by somebody else than a supervisor.
std::optional<int> externalCustodianIn(const std::string& runtimeDir);

// Asks a custodian that is there already, for at most a few seconds; its own loop. Errors: ENOENT: nobody
// answers on custody.sock, so there is nothing to inherit; ETIMEDOUT: somebody is there and does not answer;
// ENODATA: it has no table (its supervisor was killed before it had given it one).
Result<Inheritance> fetchInheritance(const std::string& runtimeDir);

}  // namespace ppx
