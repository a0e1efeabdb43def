// An AdminServer over a table of its own, a prober that decides at once, and HTTP by hand.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "supervisor/admin/admin_server.h"

namespace ppx::test {

using Json = nlohmann::json;

struct Answer {
  int status = 0;       // 0: the connection was closed without one
  std::string headers;  // as they came
  std::string body;
  Json json() const { return Json::parse(body); }
  std::string errorCode() const { return json().at("error").at("code"); }
  std::string errorField() const { return json().at("error").value("field", ""); }
  std::string errorText() const { return json().at("error").at("message"); }
};

// A plain connection to the server.
class RawClient {
 public:
  explicit RawClient(uint16_t port);
  bool send(const std::string& bytes);   // false: the server closed it
  Answer answer(int withinMs = 10'000);  // until the server closes it
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

std::string httpText(const std::string& method, const std::string& path, const std::string& body = {},
                     const std::string& headers = {});

class AdminFixture : public ::testing::Test {
 protected:
  AdminFixture();
  ~AdminFixture() override;

  void start();  // after the configuration was changed
  Answer ask(const std::string& text) const;
  Answer get(const std::string& path) const { return ask(httpText("GET", path)); }
  Answer post(const std::string& path, const std::string& body = {}) const {
    return ask(httpText("POST", path, body));
  }
  Json addReady(const std::string& host, int port);  // the body of its 201

  // A session as a forwarder of row `forwarder` would have it.
  SlotRef makeSession(uint32_t upstreamSlot = kNoUpstream, uint32_t pool = 0, uint8_t forwarder = 0);
  void endSession(SlotRef ref, uint8_t forwarder = 0);
  std::string sessionUuid(SlotRef ref) const { return uuidText(SessionTable(table_).uuid(ref.slot)); }

  // Ports whose upstreams the prober finds ready; others stay probing.
  void setAnswer(UpstreamHealth health) { healthToGive_ = health; }

  // While the server runs.
  template <typename Change>
  void changeStatus(Change change) {
    std::lock_guard lock(statusMutex_);
    change(status_);
  }

  static TableSizes smallSizes();

  Table table_;
  Doorbells doorbells_;
  Config config_;
  SupervisorStatus status_;  // before start()
  std::mutex statusMutex_;
  std::string peerAddress_;  // empty: the true one; before start()
  AdminContext::UpstreamChangedHandler upstreamChanged_;
  std::unique_ptr<AdminServer> server_;
  uint16_t port_ = 0;
  RandomSource random_;

 private:
  void probe();
  std::atomic<UpstreamHealth> healthToGive_{UpstreamHealth::kReady};
  std::atomic<bool> stopProber_{false};
  std::thread prober_;
};

uint64_t residentBytes();

}  // namespace ppx::test
