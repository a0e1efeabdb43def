#include "supervisor/obituaries.h"

#include <algorithm>
#include <chrono>

#include "common/log.h"
#include "supervisor/small_file.h"

namespace ppx {
namespace {

// Longer than any take-over that goes well; what is not served then is told of as it stands.
constexpr std::chrono::seconds kMostPatience{10};
constexpr std::chrono::milliseconds kSampleInterval{500};
constexpr size_t kMostBookBytes = 512 << 10;

}  // namespace

Obituaries::Obituaries(boost::asio::io_context& io, const Table& table, const RuntimeDir& dir,
                       EventLog& events, ObituaryBook& book)
    : io_(io), table_(table), dir_(dir), events_(events), book_(book), sampleTimer_(io) {}

void Obituaries::start() {
  SmallFile file = readSmallFile(dir_.file(kObituariesFileName), kMostBookBytes);
  if (file.error.empty() && !book_.load(file.text)) spdlog::warn("{} cannot be read", kObituariesFileName);
  for (nlohmann::ordered_json& told : book_.takeInterrupted()) {
    spdlog::warn(
        "obituary: {} (pid {}) died: {}; the supervisor died before it knew what came of its sessions",
        told.value("worker", ""), told.value("pid", 0), told.value("how", ""));
    told["obituary"] = told["id"];
    told.erase("id");
    events_.append("worker_died", std::move(told));
  }
  count();
}

// Sampled now and then, so it is an upper bound.
void Obituaries::count() {
  const auto window = static_cast<Millis>(table_.header().doubtWindowMs.load());
  Sample now;
  now.at = monotonicMillis();
  for (uint8_t row = 0; row < kMaxForwarders; ++row) now.bytesIn[row] = table_.worker(row).bytesIn.load();
  samples_.push_back(now);
  while (samples_.size() > 1 && now.at - samples_[1].at >= window) samples_.pop_front();
  sampleTimer_.expires_after(kSampleInterval);
  sampleTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) count();
  });
}

std::optional<uint64_t> Obituaries::inputInDoubt(const WorkerDeath& death) const {
  const auto window = static_cast<Millis>(table_.header().doubtWindowMs.load());
  const Sample& oldest = samples_.front();
  if (death.id.row >= kMaxForwarders || monotonicMillis() - oldest.at < window) return std::nullopt;
  return table_.worker(death.id.row).bytesIn.load() - oldest.bytesIn[death.id.row];
}

void Obituaries::died(WorkerDeath death) {
  const auto inDoubt = inputInDoubt(death);
  Open& open =
      open_.emplace_back(Open{0, Obituary(std::move(death), inDoubt), boost::asio::steady_timer(io_)});
  const WorkerDeath& who = open.obituary.death();
  open.id = book_.open(open.obituary.json(), workerRoleName(who.role), who.cause());
  if (open.obituary.complete()) return publish(open);
  save();
  open.deadline.expires_after(kMostPatience);
  open.deadline.async_wait([this, id = open.id](const boost::system::error_code& error) {
    auto found = std::find_if(open_.begin(), open_.end(), [id](const Open& each) { return each.id == id; });
    if (!error && found != open_.end()) publish(*found);
  });
}

void Obituaries::tookOver(uint8_t row, const control::TookOver& report) {
  if (report.planned != 0) return;
  for (Open& open : open_) {
    if (!open.obituary.isOf(report.fromRow, report.fromIncarnation)) continue;
    open.obituary.add(row, table_.worker(row).incarnation.load(), report);
    if (open.obituary.complete()) publish(open);
    return;
  }
}

void Obituaries::publish(Open& open) {
  const Obituary& obituary = open.obituary;
  nlohmann::ordered_json told = obituary.json();
  ObituaryBook::Recovered recovered{
      std::nullopt,
      {obituary.wentOn(), obituary.closed(), obituary.inDoubt(), obituary.bytesCarriedIn(),
       obituary.bytesCarriedOut(), obituary.bytesInDoubt().value_or(0)}};
  if (auto us = obituary.recoveryUs()) recovered.seconds = static_cast<double>(*us) / 1e6;
  book_.close(open.id, told, recovered);
  save();
  spdlog::warn("{}", obituary.text());
  told["obituary"] = open.id;
  events_.append("worker_died", std::move(told));
  open_.remove_if([&](const Open& each) { return &each == &open; });
}

void Obituaries::save() {
  if (Status written = dir_.write(kObituariesFileName, book_.save()); !written)
    spdlog::warn("obituaries are not kept: {}", written.error().text);
}

}  // namespace ppx
