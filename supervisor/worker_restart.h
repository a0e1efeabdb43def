// Restarts acceptors or the prober, one after the other. An acceptor's successor accepts in a free row before
// the old one stops; the prober has one row, so the old one goes first: health stands meanwhile.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <vector>

#include "supervisor/operation.h"

namespace ppx {

class WorkerRestart : public Operation {
 public:
  WorkerRestart(OperationTools tools, WorkerRole role, Finish finish);
  void begin() override;
  void advance() override;
  std::string progress() const override;

 private:
  enum class Step { kStarting, kStopping };

  void next();
  void startNew(uint8_t row);
  void stopOld();
  void stepDone();
  bool startsFirst() const { return role_ == WorkerRole::kAcceptor; }
  void arm(std::chrono::milliseconds deadline);
  void late();

  WorkerRole role_;
  std::vector<uint8_t> rows_;
  size_t index_ = 0;
  Step step_ = Step::kStarting;
  uint8_t newRow_ = 0;
  uint32_t deathsBefore_ = 0;
  uint64_t oldIncarnation_ = 0;
  boost::asio::steady_timer deadline_;
};

}  // namespace ppx
