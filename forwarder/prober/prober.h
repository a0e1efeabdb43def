// All probes: one for each upstream that is active or draining. Follows the table at each ring of the
// prober's doorbell and each second. Asio thread only; it knows nothing of the supervisor's channel.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "common/doorbells.h"
#include "common/table.h"
#include "forwarder/prober/upstream_probe.h"

namespace ppx {

class Prober {
 public:
  // After a change of health is in the table and everybody's doorbell was rung.
  using OnChanged = std::function<void(uint32_t slot, uint32_t generation)>;

  // Table and doorbells outlive it.
  Prober(boost::asio::io_context& io, Table& table, Doorbells& doorbells, OnChanged onChanged);
  // Cancels all calls and waits for them, two seconds at most. The table stays as it is.
  ~Prober();

  Status start();

 private:
  void waitForBell();
  void waitForSecond();
  void sync();
  void syncRow(uint32_t slot, Millis now);
  void announce(const UpstreamIdentity& identity);

  boost::asio::io_context& io_;
  Table& table_;
  Doorbells& doorbells_;
  OnChanged onChanged_;
  std::shared_ptr<CallGate> gate_;
  boost::asio::posix::stream_descriptor bell_;
  boost::asio::steady_timer second_;
  std::vector<std::unique_ptr<UpstreamProbe>> probes_;  // by slot
};

}  // namespace ppx
