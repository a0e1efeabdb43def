// An upstream whose answers a test orders.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "upstream.grpc.pb.h"

namespace ppx::test {

// An address of 127.0.0.0/8 that this process has for itself: no other test's connections use up its ports.
std::string ownLoopback();

struct Script {
  enum class Ready { kYes, kNo, kHang, kFail };
  enum class Live { kYes, kNo, kSilent, kEndAtOnce, kAnswerAndEnd, kUnimplemented };
  Ready ready = Ready::kYes;
  Live live = Live::kYes;
};

struct Counts {
  int readyAsked = 0, liveOpened = 0, liveAsked = 0, liveNow = 0;
};

class ScriptedUpstream {
 public:
  // `address` as in ServerBuilder; port 0 allowed.
  explicit ScriptedUpstream(const std::string& address = ownLoopback() + ":0", Script script = {});
  explicit ScriptedUpstream(Script script) : ScriptedUpstream(ownLoopback() + ":0", script) {}
  ~ScriptedUpstream();

  uint32_t port() const { return static_cast<uint32_t>(port_); }
  void setScript(Script script);
  Counts counts() const;
  // False when it does not come true in time.
  bool waitFor(const std::function<bool(const Counts&)>& holds,
               std::chrono::milliseconds patience = std::chrono::seconds(20)) const;

 private:
  class Service;
  class LiveReactor;
  class HangingReady;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Script script_;
  Counts counts_;
  int port_ = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace ppx::test
