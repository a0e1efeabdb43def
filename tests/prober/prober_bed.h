// A prober in this process, over a table of its own, without a supervisor: the test plays its part.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "forwarder/prober/prober.h"

namespace ppx::test {

struct UpstreamTimes {
  uint32_t aliveMs = 5000;
  uint32_t readyMs = 2000;
};

class ProberBed {
 public:
  explicit ProberBed(uint32_t upstreamSlots = 8);
  ~ProberBed();

  void startProber();
  void stopProber();

  // What the admin API does. Returns the generation.
  uint32_t add(uint32_t slot, const std::string& host, uint32_t port, UpstreamTimes times = {});
  void drain(uint32_t slot);
  void remove(uint32_t slot);

  Table& table() { return table_; }
  Doorbells& doorbells() { return doorbells_; }
  UpstreamSlot& row(uint32_t slot) { return table_.upstream(slot); }
  UpstreamHealth health(uint32_t slot);
  // Woken by each change that the prober reports.
  bool waitFor(const std::function<bool()>& holds,
               std::chrono::milliseconds patience = std::chrono::seconds(20));
  bool waitHealth(uint32_t slot, UpstreamHealth health,
                  std::chrono::milliseconds patience = std::chrono::seconds(20));
  // A good answer on the live stream is in the table; nobody is told of that, so it is looked for.
  bool waitProof(uint32_t slot, std::chrono::milliseconds patience = std::chrono::seconds(20));
  int changes();  // reported so far

 private:
  Table table_;
  Doorbells doorbells_;
  std::unique_ptr<boost::asio::io_context> io_;
  std::unique_ptr<Prober> prober_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int changes_ = 0;
};

}  // namespace ppx::test
