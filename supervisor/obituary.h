// The death of a worker process that nobody had planned, and what became of its sessions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/control_protocol.h"
#include "common/session_table.h"
#include "supervisor/take_over_reports.h"

namespace ppx {

// What is known when the process is buried.
struct WorkerDeath {
  std::string worker;  // forwarder-1
  WorkerRole role = WorkerRole::kNone;
  WorkerId id;
  int pid = 0;
  std::string how;        // "signal 9 (Killed)", "exit code 3", "ended (not as a child of this supervisor)"
  bool silent = false;    // it had missed its heartbeats and was killed for that
  std::string lastWords;  // common/last_words.h; empty: none
  Millis realtimeMs = 0;  // when the supervisor saw it
  uint64_t seenUs = 0;    // the same, CLOCK_MONOTONIC
  uint32_t sessions = 0;  // that a forwarder owned then
  // signal, exit, silent, or unknown (it was not this supervisor's child).
  std::string cause() const;
};

// How many sessions this process owns.
uint32_t sessionsOf(const Table& table, const WorkerId& worker);
// What the process left in the runtime directory, printable and on one line; the file is gone then. Empty: nothing.
std::string takeLastWords(const std::string& runtimeDir, const WorkerId& worker);

class Obituary {
 public:
  // `inputInDoubt`: bytes that clients sent to it in the doubt window before; none: nobody counted.
  Obituary(WorkerDeath death, std::optional<uint64_t> inputInDoubt);

  bool isOf(uint32_t row, uint32_t incarnation) const;
  void add(uint8_t row, uint64_t incarnation, const control::TookOver& report);
  // Every session that it owned goes on, or was ended.
  bool complete() const;
  const WorkerDeath& death() const { return death_; }
  uint64_t wentOn() const { return reports_.sum(&control::TookOver::sessions); }
  uint64_t closed() const { return reports_.sum(&control::TookOver::closed); }
  uint64_t inDoubt() const { return reports_.sum(&control::TookOver::inDoubt); }
  uint64_t bytesCarriedIn() const { return reports_.sum(&control::TookOver::inputBytes); }
  uint64_t bytesCarriedOut() const { return reports_.sum(&control::TookOver::outputBytes); }
  // At most so many, all of them input: of output the kernel says how much was sent. None: nobody counted.
  std::optional<uint64_t> bytesInDoubt() const;
  // From its death until the last of its sessions could move again; none: there were none, or it is not over.
  std::optional<uint64_t> recoveryUs() const;
  nlohmann::ordered_json json() const;
  std::string text() const;  // one line for the log

 private:
  const control::TookOver* slowest() const;
  nlohmann::ordered_json recovery() const;

  WorkerDeath death_;
  std::optional<uint64_t> inputInDoubt_;
  TakeOverReports reports_;
};

}  // namespace ppx
