// Another number of forwarders: new ones get their part of the sessions, or the last ones give all of theirs
// away and leave.
#pragma once

#include <deque>
#include <memory>

#include "supervisor/forwarder_move.h"

namespace ppx {

class ForwarderScale : public Operation {
 public:
  ForwarderScale(OperationTools tools, uint32_t count, Finish finish);
  void begin() override;
  void advance() override;
  void handedOver(uint8_t row, const control::HandedOver& report) override;
  void tookOver(uint8_t row, const control::TookOver& report) override;
  std::string progress() const override;

 private:
  void grow();
  void shrink();
  void spread();
  void giveUpGrowing(const std::string& why);
  void next();
  void ended();

  uint32_t count_;
  std::vector<uint8_t> before_;
  std::vector<uint8_t> added_;
  bool starting_ = false;
  bool ending_ = false;
  uint32_t deathsBefore_ = 0;
  std::deque<ForwarderMove::Plan> plans_;
  std::unique_ptr<ForwarderMove> move_;
  boost::asio::steady_timer deadline_;
};

}  // namespace ppx
