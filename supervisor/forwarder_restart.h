// Restarts forwarders one after the other: each one's sessions move to a successor in a free row.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "supervisor/forwarder_move.h"

namespace ppx {

class ForwarderRestart : public Operation {
 public:
  // `rows`: in this order; those that have no ready process when their turn comes are left out.
  ForwarderRestart(OperationTools tools, std::vector<uint8_t> rows, Finish finish);
  void begin() override;
  void advance() override;
  void handedOver(uint8_t row, const control::HandedOver& report) override;
  void tookOver(uint8_t row, const control::TookOver& report) override;
  std::string progress() const override;

 private:
  void next();
  void moved(const std::string& error);
  void waitForTheLast();

  std::vector<uint8_t> rows_;
  size_t index_ = 0;
  size_t restarted_ = 0;
  std::unique_ptr<ForwarderMove> move_;
  bool ending_ = false;
  boost::asio::steady_timer endTimer_;
};

}  // namespace ppx
