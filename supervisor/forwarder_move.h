// Moves sessions from one forwarder to others, by the steps of move_step.h: for restarts and for scaling. The
// supervisor's loop only.
//
//   one restart:  successor started -> ready -> the source is chosen no more -> HandOver -> it has none left
//
// It is over when the sessions are served elsewhere. The source then leaves by itself, once its upstream
// streams have ended; WorkerManager::leave() watches that.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/move_figures.h"
#include "supervisor/move_step.h"
#include "supervisor/operation.h"

namespace ppx {

class ForwarderMove {
 public:
  struct Plan {
    uint8_t source = 0;
    std::vector<uint8_t> targets;  // rows; one that is empty with `startsTarget`
    bool startsTarget = false;     // as the source's successor
    uint32_t sessions = control::kAllSessions;
    bool leave = true;  // the source goes
  };
  // `error`: empty when the sessions are where the plan wants them.
  using Over = std::function<void(const std::string& error)>;

  ForwarderMove(const OperationTools& tools, Plan plan, Over over);
  void begin();
  void advance();
  void handedOver(uint8_t row, const control::HandedOver& report);
  void tookOver(uint8_t row, const control::TookOver& report);
  std::string progress() const;

 private:
  void fire(MoveEvent event);
  void act(MoveAction action);
  void handOver();
  void handBack();
  void dismiss();
  void giveUp();
  void report(const char* type);
  void finish(const std::string& error);
  bool sourceGone() const;
  bool allMoved() const;
  bool targetsReady() const;
  uint64_t targetLives() const;
  uint32_t targetDeaths() const;
  void arm(std::chrono::milliseconds deadline);
  void settleSoon();

  OperationTools tools_;
  Plan plan_;
  Over over_;
  boost::asio::steady_timer deadline_;
  boost::asio::steady_timer settle_;  // the last figures of those that took are on the way
  MoveStep step_ = MoveStep::kStarting;
  MoveFigures figures_;
  std::string why_;  // of the failure
  uint64_t sourceIncarnation_ = 0;
  std::string sourceName_;
  int sourcePid_ = 0;
  uint64_t toldTargets_ = 0;  // the lives of the targets that the last HandOver named
  uint32_t deathsBefore_ = 0;
  uint32_t handOverId_ = 0;
  bool settling_ = false;
  bool settled_ = false;  // waited long enough for them
  Millis began_ = 0;
};

}  // namespace ppx
