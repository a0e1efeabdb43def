// A worker's end of the control channel (control_protocol.h): says hello, keeps the Welcome's descriptors,
// redials for ever when the channel breaks. Runs on the worker's Asio thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/control_protocol.h"
#include "common/doorbells.h"
#include "common/session_table.h"
#include "common/table.h"

namespace ppx {

struct WorkerIdentity {
  WorkerRole role = WorkerRole::kNone;
  WorkerId id;
  std::string runtimeDir;
  std::optional<WorkerId> predecessor = {};  // a forwarder's: whose streams it waits for (control_protocol.h)
  // A custodian's that no supervisor started: its incarnation is 0 until the first Welcome names it.
  bool startedByOthers = false;
};

// --runtime-dir DIR --row N --incarnation N [--successor-of ROW:INCARNATION]; for a custodian that a service manager starts
// --runtime-dir DIR alone. Ends the process with code 64 on anything else.
WorkerIdentity parseWorkerArguments(WorkerRole role, int argc, char** argv);

class ControlClient {
 public:
  struct Handlers {
    // Once per process, with the first Welcome: the table and the doorbells are this process's from here on.
    std::function<void(Table&, Doorbells&)> welcome;
    std::function<void(std::vector<UniqueFd> sockets, std::vector<uint8_t> rows)> listeners;
    std::function<void()> peersChanged;
    std::function<void(const control::WorkerDied&)> workerDied;
    std::function<void(uint32_t deadlineMs)> stop;
    std::function<void(const control::HandOver&)> handOver = {};
    std::function<void()> renew = {};
    // Asked before each heartbeat: whether what the process does beside its Asio thread goes on. Without it none is sent.
    std::function<bool()> works = {};
  };

  ControlClient(boost::asio::io_context& io, WorkerIdentity identity, Handlers handlers);
  void start();
  void ready();  // announced now, and in each later Hello
  // Says Stopping and leaves with _exit(0), not returning: gRPC's threads are not waited for.
  [[noreturn]] void leave();
  void upstreamChanged(uint32_t upstream, uint32_t generation);  // Asio thread only
  void handedOver(const control::HandedOver& report);
  void tookOver(const control::TookOver& report);
  void renewed(bool done, const std::string& reason);

 private:
  void dial();
  void redial();
  void waitReadable();
  void receive();
  void dispatch(std::span<const std::byte> bytes, std::vector<UniqueFd> descriptors);
  void onWelcome(const control::Welcome& message, std::vector<UniqueFd> descriptors);
  template <typename T>
  void send(const T& message);
  void beat();
  void keepLastWords();

  boost::asio::io_context& io_;
  WorkerIdentity identity_;
  Handlers handlers_;
  boost::asio::posix::stream_descriptor channel_;
  boost::asio::steady_timer redialTimer_;
  boost::asio::steady_timer beatTimer_;
  std::unique_ptr<Table> table_;
  std::unique_ptr<Doorbells> doorbells_;
  bool ready_ = false;
  int dialFailures_ = 0;
  uint32_t logging_ = 0;  // what holds here of TableHeader::logging
};

}  // namespace ppx
