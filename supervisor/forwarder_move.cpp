#include "supervisor/forwarder_move.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

#include "common/failpoint.h"
#include "common/log.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStartDeadline{15'000};
constexpr milliseconds kMoveSlack{30'000};  // beyond barrier_timeout, with nothing moving at all
constexpr milliseconds kSettle{2'000};
constexpr uint32_t kAttempts = 3;

// Of all moves, so that a late report is not taken for a later move's.
uint32_t nextHandOverId() {
  static uint32_t last = 0;
  if (++last == 0) ++last;
  return last;
}

}  // namespace

ForwarderMove::ForwarderMove(const OperationTools& tools, Plan plan, Over over)
    : tools_(tools), plan_(std::move(plan)), over_(std::move(over)), deadline_(tools.io), settle_(tools.io) {}

void ForwarderMove::begin() {
  WorkerView source = tools_.workers.view(plan_.source);
  sourceIncarnation_ = source.incarnation;
  sourcePid_ = source.pid;
  sourceName_ = source.name;
  began_ = monotonicMillis();
  deathsBefore_ = targetDeaths();
  arm(kStartDeadline);
  if (plan_.startsTarget)
    tools_.workers.startIn(plan_.targets.front(),
                           WorkerId{plan_.source, static_cast<uint32_t>(sourceIncarnation_)});
  advance();
}

void ForwarderMove::arm(milliseconds deadline) {
  deadline_.expires_after(deadline);
  deadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error) fire(MoveEvent::kLate);
  });
}

bool ForwarderMove::sourceGone() const {
  return tools_.workers.view(plan_.source).incarnation != sourceIncarnation_;
}

bool ForwarderMove::targetsReady() const {
  return std::all_of(plan_.targets.begin(), plan_.targets.end(),
                     [this](uint8_t row) { return tools_.workers.view(row).state == WorkerState::kReady; });
}

// Changes with each new process among them.
uint64_t ForwarderMove::targetLives() const {
  uint64_t lives = 0;
  for (uint8_t row : plan_.targets) lives += tools_.workers.view(row).incarnation;
  return lives;
}

uint32_t ForwarderMove::targetDeaths() const {
  uint32_t deaths = 0;
  for (uint8_t row : plan_.targets) deaths += tools_.workers.view(row).deaths;
  return deaths;
}

bool ForwarderMove::allMoved() const {
  const control::HandedOver& given = figures_.given();
  if (given.id != handOverId_ || given.state == control::HandedOver::State::kStopped) return false;
  bool none = given.remaining == 0 && (given.moved > 0 || given.state == control::HandedOver::State::kDone);
  return none && (settled_ || (figures_.served() >= given.moved && figures_.waiting() == 0));
}

void ForwarderMove::advance() {
  if (step_ == MoveStep::kReturning) {
    bool gone = std::all_of(plan_.targets.begin(), plan_.targets.end(),
                            [this](uint8_t row) { return tools_.workers.view(row).pid == 0; });
    if (gone) fire(MoveEvent::kReturned);
    return;
  }
  if (sourceGone()) {
    // Those that took say how it went as soon as they serve.
    bool heard = settled_ || (figures_.served() >= figures_.given().moved && figures_.waiting() == 0);
    if (step_ == MoveStep::kHanding && !heard) return settleSoon();
    return fire(MoveEvent::kSourceGone);
  }
  if (step_ <= MoveStep::kHanding && targetDeaths() - deathsBefore_ >= kAttempts) {
    why_ = "its successor died " + std::to_string(kAttempts) + " times";
    return fire(MoveEvent::kTargetGivenUp);
  }
  if (targetsReady() && targetLives() != toldTargets_) return fire(MoveEvent::kTargetsReady);
  if (step_ == MoveStep::kHanding && allMoved()) fire(MoveEvent::kMoved);
}

void ForwarderMove::fire(MoveEvent event) {
  if (event == MoveEvent::kLate && why_.empty())
    why_ = step_ == MoveStep::kStarting ? "its successor did not become ready in time"
                                        : "its sessions did not move in time";
  MoveTransition transition = moveTransition(step_, event);
  step_ = transition.next;
  act(transition.action);
}

void ForwarderMove::act(MoveAction action) {
  switch (action) {
    case MoveAction::kNone:
      return;
    case MoveAction::kHandOver:
      return handOver();
    case MoveAction::kReport:
      report("forwarder_moved");
      return finish("");
    case MoveAction::kDismiss:
      return dismiss();
    case MoveAction::kHandBack:
      return handBack();
    case MoveAction::kGiveUp:
      return giveUp();
  }
}

void ForwarderMove::handOver() {
  toldTargets_ = targetLives();
  handOverId_ = nextHandOverId();
  settled_ = settling_ = false;
  settle_.cancel();
  control::HandOver message;
  message.id = handOverId_;
  message.sessions = plan_.sessions;
  message.leave = plan_.leave ? 1 : 0;
  for (uint8_t row : plan_.targets) {
    message.rows[message.targets] = row;
    message.incarnations[message.targets++] = static_cast<uint32_t>(tools_.workers.view(row).incarnation);
  }
  milliseconds longest = tools_.config.drainMax + kMoveSlack;
  // A supervisor that follows after any of these steps finds a successor that is dismissed, or one that takes the place of
  // a source that knows what to do.
  tools_.workers.send(plan_.source, message);
  failpoint("supervisor.handover_ordered");
  if (plan_.leave) tools_.workers.leave(plan_.source, plan_.targets.front(), longest.count());
  for (uint8_t row : plan_.targets) tools_.workers.settle(row);
  arm(tools_.config.barrierTimeout + kMoveSlack);
}

void ForwarderMove::handedOver(uint8_t row, const control::HandedOver& report) {
  if (row != plan_.source || step_ != MoveStep::kHanding || report.id != handOverId_) return;
  if (report.moved != figures_.given().moved || report.remaining != figures_.given().remaining)
    arm(tools_.config.barrierTimeout + kMoveSlack);
  figures_.add(report);
  if (report.remaining == 0 && !allMoved()) settleSoon();
  advance();
}

void ForwarderMove::tookOver(uint8_t row, const control::TookOver& report) {
  if (report.fromRow != plan_.source || report.fromIncarnation != sourceIncarnation_) return;
  figures_.add(row, tools_.workers.view(row).incarnation, report);
  if (step_ == MoveStep::kHanding) advance();
}

void ForwarderMove::settleSoon() {
  if (std::exchange(settling_, true)) return;
  settle_.expires_after(kSettle);
  settle_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    settled_ = true;
    advance();
  });
}

void ForwarderMove::dismiss() {
  if (plan_.startsTarget)
    for (uint8_t row : plan_.targets) tools_.workers.kill(row);
  finish(step_ == MoveStep::kFailed ? why_ + "; nothing has changed" : "");
}

void ForwarderMove::handBack() {
  control::HandOver nothing;  // id 0: serve on
  tools_.workers.send(plan_.source, nothing);
  if (plan_.leave) tools_.workers.stay(plan_.source);
  arm(tools_.config.barrierTimeout + kMoveSlack);
  if (!plan_.startsTarget) return fire(MoveEvent::kReturned);  // they serve on with what they got
  uint8_t row = plan_.targets.front();
  if (tools_.workers.view(row).state != WorkerState::kReady || sourceGone())
    return fire(MoveEvent::kReturned);
  control::HandOver back;
  back.id = nextHandOverId();
  back.leave = 1;
  back.targets = 1;
  back.rows[0] = plan_.source;
  back.incarnations[0] = static_cast<uint32_t>(sourceIncarnation_);
  tools_.workers.leave(row, plan_.source, (tools_.config.drainMax + kMoveSlack).count());
  tools_.workers.send(row, back);
}

void ForwarderMove::giveUp() {
  if (plan_.startsTarget)
    for (uint8_t row : plan_.targets) tools_.workers.bequeath(row, plan_.source);
  report("forwarder_move_failed");
  finish(why_ + "; " + sourceName_ + " serves on");
}

void ForwarderMove::report(const char* type) {
  nlohmann::ordered_json data{{"forwarder", sourceName_}, {"pid", sourcePid_}};
  for (uint8_t row : plan_.targets) data["to"].push_back(tools_.workers.view(row).name);
  data["moved"] = figures_.given().moved;
  data.update(figures_.json());
  data["seconds"] = static_cast<double>(monotonicMillis() - began_) / 1000;
  if (!why_.empty()) data["reason"] = why_;
  tools_.events.append(type, data);
  logInfo(type, {{"worker", sourceName_}, {"row", plan_.source}, {"incarnation", sourceIncarnation_}},
          "{}: {}", type, data.dump());
}

void ForwarderMove::finish(const std::string& error) {
  deadline_.cancel();
  settle_.cancel();
  boost::asio::post(tools_.io, [over = std::exchange(over_, {}), error] {
    if (over) over(error);
  });
}

std::string ForwarderMove::progress() const {
  const control::HandedOver& given = figures_.given();
  std::string text = fmt::format("{}: {}", sourceName_, moveStepName(step_));
  if (const uint64_t all = uint64_t{given.moved} + given.remaining; all > 0)
    text += fmt::format(", {} of {} sessions moved", given.moved, all);
  if (const uint64_t stallUs = figures_.stallUs(0.99); stallUs > 0)
    text += fmt::format(", stall p99 {:.1f} ms", static_cast<double>(stallUs) / 1000);
  return text;
}

}  // namespace ppx
