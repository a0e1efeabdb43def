// What one move of sessions did, from the reports of those that gave and those that took.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/control_protocol.h"

namespace ppx {

class MoveFigures {
 public:
  void add(uint8_t row, uint64_t incarnation, const control::TookOver& report) {
    reports_[{row, incarnation}] = report;
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
  template <typename T>
  uint64_t sum(T control::TookOver::*field) const {
    uint64_t total = 0;
    for (const auto& [who, report] : reports_) total += report.*field;
    return total;
  }

  std::map<std::pair<uint8_t, uint64_t>, control::TookOver> reports_;  // by row and incarnation
  control::HandedOver given_;
};

}  // namespace ppx
