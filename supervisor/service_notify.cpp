#include "supervisor/service_notify.h"

#include <systemd/sd-daemon.h>

#include <cstdlib>

namespace ppx {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

constexpr std::chrono::seconds kStatusInterval{1};
// Longer than the interval between two of them by far: a loop that is late by seconds loses nothing.
constexpr microseconds kExtension = 15s;

// What the manager reads is lines.
std::string oneLine(std::string text) {
  for (char& each : text)
    if (static_cast<unsigned char>(each) < ' ') each = ' ';
  return text;
}

}  // namespace

ServiceNotify::ServiceNotify(boost::asio::io_context& io, StatusLine status)
    : status_(std::move(status)), watchdog_(io), second_(io) {
  if (const char* path = std::getenv("NOTIFY_SOCKET")) manager_.emplace(path);
}

void ServiceNotify::start() {
  if (!manager_) return;
  uint64_t limit = 0;
  if (::sd_watchdog_enabled(0, &limit) > 0) feedEvery_ = microseconds(limit / 2);
  if (feedEvery_ > 0us) feed();
  tick();
}

void ServiceNotify::ready() {
  tell("READY=1\n" + statusNow());
}

void ServiceNotify::reloading() {
  std::string food = feedEvery_ > 0us ? "WATCHDOG=1\n" : "";
  tell(food + "RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonicMicros()) + "\n" + statusNow());
}

void ServiceNotify::stopping() {
  stopping_ = true;
  tell("STOPPING=1\n" + statusNow());
}

void ServiceNotify::mayTake(std::chrono::milliseconds most) {
  stepEnds_ = monotonicMillis() + most.count();
}

void ServiceNotify::feed() {
  send("WATCHDOG=1");
  watchdog_.expires_after(feedEvery_);
  watchdog_.async_wait([this](const boost::system::error_code& error) {
    if (!error) feed();
  });
}

void ServiceNotify::tick() {
  std::string before = told_, now = statusNow();
  if (now != before && !send(now)) told_.clear();
  if (stopping_ && monotonicMillis() < stepEnds_)
    send("EXTEND_TIMEOUT_USEC=" + std::to_string(kExtension.count()));
  second_.expires_after(kStatusInterval);
  second_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

std::string ServiceNotify::statusNow() {
  return told_ = "STATUS=" + oneLine(status_());
}

void ServiceNotify::tell(const std::string& state) {
  if (!manager_) return;
  untold_.push_back(state);
  sendUntold();
}

bool ServiceNotify::sendUntold() {
  while (!untold_.empty() && manager_->send(untold_.front()) != EAGAIN) untold_.pop_front();
  return untold_.empty();
}

bool ServiceNotify::send(const std::string& text) {
  return sendUntold() && manager_->send(text) == 0;
}

}  // namespace ppx
