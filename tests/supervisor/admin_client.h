// The daemon's admin API, by one blocking request a call.
#pragma once

#include <httplib.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "common/clock.h"
#include "supervisor/runtime_dir.h"
#include "tests/supervisor/daemon.h"

namespace ppx::test {

class AdminClient {
 public:
  explicit AdminClient(const Daemon& daemon) : http_("localhost", portOf(daemon)) {}

  struct Reply {
    int status = 0;
    nlohmann::json body;
    std::string code() const { return body.at("error").at("code"); }
    std::string message() const { return body.at("error").at("message"); }
  };
  Reply get(const std::string& path) { return read(http_.Get(path)); }
  Reply put(const std::string& path, const std::string& body) {
    return read(http_.Put(path, body, "application/json"));
  }
  Reply post(const std::string& path, const std::string& body = {}) {
    return read(body.empty() ? http_.Post(path) : http_.Post(path, body, "application/json"));
  }

  // The event stream from behind `after` until it holds `text`, or ends.
  std::string listen(uint64_t after, const std::string& text) {
    std::string got;
    http_.set_read_timeout(20);
    http_.Get("/admin/events", {{"Last-Event-ID", std::to_string(after)}},
              [&](const char* bytes, size_t size) {
                got.append(bytes, size);
                return got.find(text) == std::string::npos;
              });
    return got;
  }

  // The operation under way, once it is over.
  nlohmann::json operationOver(int deadlineMs = 20'000) {
    nlohmann::json operation;
    for (Millis end = monotonicMillis() + deadlineMs; monotonicMillis() < end;) {
      operation = get("/admin/operation").body.at("operation");
      if (operation.at("state") != "running") break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return operation;
  }
  // The data of the events of a type.
  std::vector<nlohmann::json> events(const std::string& type) {
    std::vector<nlohmann::json> out;
    nlohmann::json all = get("/admin/events?follow=0").body.at("events");
    for (const auto& event : all)
      if (event.at("event") == type) out.push_back(event.at("data"));
    return out;
  }

 private:
  static int portOf(const Daemon& daemon) {
    int port = 0;
    std::ifstream(daemon.runtimeDir() + "/" + kAdminPortFileName) >> port;
    return port;
  }
  static Reply read(const httplib::Result& result) {
    if (!result) return {};
    return {result->status, nlohmann::json::parse(result->body, nullptr, false)};
  }

  httplib::Client http_;
};

}  // namespace ppx::test
