#include "supervisor/obituary.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "common/last_words.h"
#include "supervisor/small_file.h"

namespace ppx {
namespace {

using Json = nlohmann::ordered_json;

double milliseconds(uint64_t us) {
  return static_cast<double>(us) / 1000;
}

uint64_t endUs(const control::TookOver& report) {
  return report.newsUs + report.servedUs;
}

uint64_t less(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

}  // namespace

std::string WorkerDeath::cause() const {
  if (silent) return "silent";
  if (how.starts_with("signal")) return "signal";
  return how.starts_with("exit") ? "exit" : "unknown";
}

uint32_t sessionsOf(const Table& table, const WorkerId& worker) {
  const SessionTable sessions(table);
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < table.header().sessionHighWater.load(); ++slot) {
    const SlotWord word = sessions.word(slot);
    count += (word.state == SlotState::kOwned || word.state == SlotState::kClosing) &&
             word.worker == worker.row && word.incarnation == worker.incarnation;
  }
  return count;
}

std::string takeLastWords(const std::string& runtimeDir, const WorkerId& worker) {
  const std::string file = runtimeDir + "/" + lastWordsName(worker.row, worker.incarnation);
  SmallFile read = readSmallFile(file, kMaxLastWords);
  ::unlink(file.c_str());
  std::replace_if(
      read.text.begin(), read.text.end(), [](char c) { return c < ' ' || c > '~'; }, ' ');
  return read.text;
}

Obituary::Obituary(WorkerDeath death, std::optional<uint64_t> inputInDoubt)
    : death_(std::move(death)), inputInDoubt_(inputInDoubt) {}

bool Obituary::isOf(uint32_t row, uint32_t incarnation) const {
  return death_.id.row == row && death_.id.incarnation == incarnation;
}

void Obituary::add(uint8_t row, uint64_t incarnation, const control::TookOver& report) {
  reports_.add(row, incarnation, report);
}

bool Obituary::complete() const {
  if (wentOn() + closed() < death_.sessions) return false;
  return std::all_of(reports_.begin(), reports_.end(),
                     [](const auto& each) { return each.second.waiting == 0 && each.second.servedUs != 0; });
}

const control::TookOver* Obituary::slowest() const {
  const control::TookOver* last = nullptr;
  for (const auto& [who, report] : reports_)
    if (last == nullptr || endUs(report) > endUs(*last)) last = &report;
  return last;
}

std::optional<uint64_t> Obituary::recoveryUs() const {
  if (death_.sessions == 0 || !complete()) return std::nullopt;
  const control::TookOver* last = slowest();
  return last == nullptr ? std::nullopt : std::optional(less(endUs(*last), death_.seenUs));
}

std::optional<uint64_t> Obituary::bytesInDoubt() const {
  return inDoubt() == 0 ? 0 : inputInDoubt_;
}

// In milliseconds, of the one that was done last.
Json Obituary::recovery() const {
  const auto us = recoveryUs();
  if (!us) return {{"complete", complete()}, {"seconds", nullptr}};
  const control::TookOver& last = *slowest();
  const uint64_t assigned = less(last.newsUs, death_.seenUs) + last.claimUs;
  return {
      {"complete", true},
      {"seconds", static_cast<double>(*us) / 1e6},
      {"parts_ms",
       {{"assign", milliseconds(assigned)},
        {"descriptors", milliseconds(less(last.descriptorsUs, uint64_t{last.claimUs} + last.reconcileUs))},
        {"reconcile", milliseconds(last.reconcileUs)},
        {"first_byte", milliseconds(less(last.servedUs, last.descriptorsUs))}}}};
}

Json Obituary::json() const {
  Json out = {{"time", rfc3339(death_.realtimeMs)},
              {"monotonic_us", death_.seenUs},
              {"worker", death_.worker},
              {"role", workerRoleName(death_.role)},
              {"row", death_.id.row},
              {"incarnation", death_.id.incarnation},
              {"pid", death_.pid},
              {"cause", death_.cause()},
              {"how", death_.how},
              {"last_words", nullptr}};
  if (!death_.lastWords.empty()) out["last_words"] = death_.lastWords;
  if (death_.role != WorkerRole::kForwarder) return out;
  out["sessions"] = {
      {"had", death_.sessions}, {"went_on", wentOn()}, {"closed", closed()}, {"in_doubt", inDoubt()}};
  out["bytes_carried"] = {{"in", bytesCarriedIn()}, {"out", bytesCarriedOut()}};
  out["bytes_in_doubt"] = nullptr;
  if (auto bytes = bytesInDoubt()) out["bytes_in_doubt"] = *bytes;
  out["recovery"] = recovery();
  return out;
}

std::string Obituary::text() const {
  std::string out =
      fmt::format("obituary: {} (pid {}, incarnation {}) died: {}", death_.worker, death_.pid,
                  death_.id.incarnation, death_.silent ? "it was silent and killed" : death_.how);
  if (!death_.lastWords.empty()) out += "; its last words: " + death_.lastWords;
  if (death_.role != WorkerRole::kForwarder) return out;
  out += fmt::format(
      "; of {} sessions {} go on, {} are closed, {} in doubt; {} bytes in and {} out carried over, {} in "
      "doubt",
      death_.sessions, wentOn(), closed(), inDoubt(), bytesCarriedIn(), bytesCarriedOut(),
      bytesInDoubt() ? fmt::format("at most {}", *bytesInDoubt()) : "an unknown number");
  if (auto us = recoveryUs()) out += fmt::format("; all moved again after {:.1f} ms", milliseconds(*us));
  return out;
}

}  // namespace ppx
