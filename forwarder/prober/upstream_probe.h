// One upstream of one generation under watch: runs its machine, makes its calls, writes its health and
// figures into the table. Asio thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/table.h"
#include "forwarder/prober/probe_calls.h"

namespace ppx {

// What the supervisor wrote before it published the row.
struct UpstreamIdentity {
  uint32_t slot = 0;
  uint32_t generation = 0;
  std::string host;
  uint32_t port = 0;
  Millis aliveTimeout = 0, readyTimeout = 0;
};

// The row's identity if somebody is in it (active or draining) and it did not change while it was read.
std::optional<UpstreamIdentity> readUpstream(const Table& table, uint32_t slot);

// Active or draining, in this generation.
bool upstreamPresent(const Table& table, uint32_t slot, uint32_t generation);

class UpstreamProbe {
 public:
  // `changed`: called after each change of health in the table.
  UpstreamProbe(boost::asio::io_context& io, Table& table, std::shared_ptr<CallGate> gate,
                UpstreamIdentity identity, std::function<void(const UpstreamIdentity&)> changed);
  ~UpstreamProbe();
  void start();

  uint32_t generation() const { return identity_.generation; }
  // Looks at what forwarders say of their streams; asks `ready` again when one of them fails on and on.
  void checkStreams(Millis now);
  // The row has another tenant, or none.
  void gone();

 private:
  void handle(ProbeEvent event, const std::string& detail);
  void perform(uint32_t actions, const std::string& detail);
  void recordAnswer(ProbeEvent event);
  void publish(const std::string& detail);
  void logHealth(UpstreamHealth health, const std::string& detail) const;
  void armTimer();
  bool present() const;

  Table& table_;
  UpstreamIdentity identity_;
  std::string label_;
  std::function<void(const UpstreamIdentity&)> changed_;
  ProbeMachine machine_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<ProbeCalls> calls_;
  Millis suspectedAt_ = 0;
  Millis armedFor_ = ProbeMachine::kNever;
  bool saidPolled_ = false;
};

}  // namespace ppx
