// What those who took a worker's sessions have said: the last report of each process. The supervisor's thread only.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "common/control_protocol.h"

namespace ppx {

class TakeOverReports {
 public:
  // `row`, `incarnation`: the taker's. In place of what it said before.
  void add(uint8_t row, uint64_t incarnation, const control::TookOver& report) {
    reports_[{row, incarnation}] = report;
  }
  template <typename T>
  uint64_t sum(T control::TookOver::*field) const {
    uint64_t total = 0;
    for (const auto& [who, report] : reports_) total += report.*field;
    return total;
  }
  auto begin() const { return reports_.begin(); }
  auto end() const { return reports_.end(); }

 private:
  std::map<std::pair<uint8_t, uint64_t>, control::TookOver> reports_;
};

}  // namespace ppx
