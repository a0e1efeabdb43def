// What one move of sessions did, from the reports of those that gave and those that took.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "common/control_protocol.h"
#include "supervisor/take_over_reports.h"

namespace ppx {

class MoveFigures {
 public:
  void add(uint8_t row, uint64_t incarnation, const control::TookOver& report) {
    reports_.add(row, incarnation, report);
  }
  void add(const control::HandedOver& report) { given_ = report; }

  uint64_t served() const;   // taken and serving, or ended by the move
  uint64_t waiting() const;  // taken, not yet served
  uint64_t inDoubt() const;
  const control::HandedOver& given() const { return given_; }
  // Upper bound of the bucket of that share of all stalls; 0: there were none.
  uint64_t stallUs(double share) const;
  uint64_t maxStallUs() const;
  nlohmann::ordered_json json() const;

 private:
  TakeOverReports reports_;
  control::HandedOver given_;
};

}  // namespace ppx
