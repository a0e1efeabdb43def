#include "supervisor/admin/obituary_book.h"

#include <algorithm>

namespace ppx {
namespace {

using Json = nlohmann::ordered_json;

Json withId(uint64_t id, const Json& obituary) {
  Json out = {{"id", id}};
  out.update(obituary);
  return out;
}

}  // namespace

uint64_t ObituaryBook::open(Json obituary, const std::string& role, const std::string& cause) {
  std::lock_guard lock(mutex_);
  kept_.push_front(withId(++last_, obituary));
  if (kept_.size() > kKept) kept_.pop_back();
  ++totals_.deaths[{role, cause}];
  return last_;
}

void ObituaryBook::close(uint64_t id, Json obituary, const Recovered& recovered) {
  std::lock_guard lock(mutex_);
  for (Json& each : kept_)
    if (each.at("id") == id) each = withId(id, obituary);
  totals_.wentOn += recovered.wentOn;
  totals_.closed += recovered.closed;
  totals_.inDoubt += recovered.inDoubt;
  if (!recovered.seconds) return;
  totals_.recoverySeconds += *recovered.seconds;
  size_t bucket = 0;
  while (bucket < kRecoveryBounds.size() && *recovered.seconds > kRecoveryBounds[bucket]) ++bucket;
  ++totals_.recoveries[bucket];
}

std::vector<Json> ObituaryBook::newestFirst() const {
  std::lock_guard lock(mutex_);
  return {kept_.begin(), kept_.end()};
}

ObituaryBook::Totals ObituaryBook::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

std::string ObituaryBook::save() const {
  std::lock_guard lock(mutex_);
  Json deaths = Json::array();
  for (const auto& [key, count] : totals_.deaths) deaths.push_back({key.first, key.second, count});
  Json out = {{"last", last_},
              {"deaths", std::move(deaths)},
              {"recoveries", totals_.recoveries},
              {"recovery_seconds", totals_.recoverySeconds},
              {"sessions", {totals_.wentOn, totals_.closed, totals_.inDoubt}},
              {"obituaries", kept_}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool ObituaryBook::load(const std::string& text) try {
  const Json in = Json::parse(text);
  Totals totals;
  for (const Json& each : in.at("deaths")) totals.deaths[{each.at(0), each.at(1)}] = each.at(2);
  totals.recoveries = in.at("recoveries");
  totals.recoverySeconds = in.at("recovery_seconds");
  totals.wentOn = in.at("sessions").at(0);
  totals.closed = in.at("sessions").at(1);
  totals.inDoubt = in.at("sessions").at(2);
  std::deque<Json> kept = in.at("obituaries");
  kept.resize(std::min(kept.size(), kKept));
  for (const Json& each : kept) (void)each.at("id").get<uint64_t>();
  const uint64_t last = in.at("last");
  std::lock_guard lock(mutex_);
  kept_ = std::move(kept);
  last_ = last;
  totals_ = std::move(totals);
  return true;
} catch (const nlohmann::json::exception&) {
  return false;
}

}  // namespace ppx
