#include "supervisor/admin/obituary_book.h"

#include <algorithm>

namespace ppx {
namespace {

using Json = nlohmann::ordered_json;

using Outcome = ObituaryBook::Outcome;

constexpr uint64_t Outcome::*kFigures[] = {&Outcome::wentOn,          &Outcome::closed,
                                           &Outcome::inDoubt,         &Outcome::bytesCarriedIn,
                                           &Outcome::bytesCarriedOut, &Outcome::bytesInDoubt};

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
  open_.insert(last_);
  return last_;
}

void ObituaryBook::close(uint64_t id, Json obituary, const Recovered& recovered) {
  std::lock_guard lock(mutex_);
  for (Json& each : kept_)
    if (each.at("id") == id) each = withId(id, obituary);
  open_.erase(id);
  Outcome& sum = totals_.outcome;
  for (uint64_t Outcome::*each : kFigures) sum.*each += recovered.outcome.*each;
  if (!recovered.seconds) return;
  totals_.recoverySeconds += *recovered.seconds;
  size_t bucket = 0;
  while (bucket < kRecoveryBounds.size() && *recovered.seconds > kRecoveryBounds[bucket]) ++bucket;
  ++totals_.recoveries[bucket];
}

std::vector<Json> ObituaryBook::takeInterrupted() {
  std::lock_guard lock(mutex_);
  std::vector<Json> out;
  for (Json& each : kept_) {
    if (!open_.contains(each.at("id").get<uint64_t>())) continue;
    each["interrupted"] = true;
    out.push_back(each);
  }
  open_.clear();
  return out;
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
  Json outcome = Json::array();
  for (uint64_t Outcome::*each : kFigures) outcome.push_back(totals_.outcome.*each);
  Json out = {{"last", last_},
              {"deaths", std::move(deaths)},
              {"recoveries", totals_.recoveries},
              {"recovery_seconds", totals_.recoverySeconds},
              {"outcome", std::move(outcome)},
              {"open", open_},
              {"obituaries", kept_}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool ObituaryBook::load(const std::string& text) try {
  const Json in = Json::parse(text);
  Totals totals;
  for (const Json& each : in.at("deaths")) totals.deaths[{each.at(0), each.at(1)}] = each.at(2);
  totals.recoveries = in.at("recoveries");
  totals.recoverySeconds = in.at("recovery_seconds");
  for (size_t i = 0; i < std::size(kFigures); ++i) totals.outcome.*kFigures[i] = in.at("outcome").at(i);
  std::set<uint64_t> open = in.at("open");
  std::deque<Json> kept = in.at("obituaries");
  kept.resize(std::min(kept.size(), kKept));
  for (const Json& each : kept) (void)each.at("id").get<uint64_t>();
  const uint64_t last = in.at("last");
  std::lock_guard lock(mutex_);
  kept_ = std::move(kept);
  open_ = std::move(open);
  last_ = last;
  totals_ = std::move(totals);
  return true;
} catch (const nlohmann::json::exception&) {
  return false;
}

}  // namespace ppx
