// What the C++ library remembers, driven without gRPC: the test is the gateway's end of each stream.
#pragma once

#include <gtest/gtest.h>

#include <chrono>

#include "upstream/cpp/core.h"

namespace paradox::upstream {

using namespace std::chrono_literals;
namespace wire = ::upstream::grpc::service;

inline constexpr uint64_t kLane = 70;
inline const std::string kClient = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
inline const std::string kOther = "7ba7b810-9dad-41d1-80b4-00c04fd430c8";

// Notes what it is told, and does what the test says with bytes.
class Worker : public Handler {
 public:
  std::function<bool(const std::string& client, std::string_view bytes)> hook;

  bool onBytes(const std::string& client, std::string_view bytes, uint64_t offset) override {
    bool done = hook ? hook(client, bytes) : true;
    std::lock_guard lock(mutex);
    received[client] += bytes;
    lastOffset = offset;
    changed.notify_all();
    return done;
  }
  void onOpened(const std::string& client, const Opened& how) override {
    note("opened " + client.substr(0, 1) + (how.continued ? " again" : ""));
  }
  void onEnd(const std::string& client) override { note("end " + client.substr(0, 1)); }
  void onClosed(const std::string& client, const std::string& reason) override {
    note("closed " + client.substr(0, 1) + " " + reason);
  }
  void note(const std::string& what) {
    std::lock_guard lock(mutex);
    told.push_back(what);
    changed.notify_all();
  }
  bool waitFor(const std::function<bool()>& holds, std::chrono::milliseconds within = 5s) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, within, holds);
  }
  bool waitForBytes(const std::string& client, const std::string& bytes) {
    return waitFor([&] { return received[client] == bytes; });
  }

  std::vector<std::string> toldSoFar() {
    std::lock_guard lock(mutex);
    return told;
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::string> received;
  std::vector<std::string> told;
  uint64_t lastOffset = 0;
};

// The gateway's end of one stream.
class GatewayEnd {
 public:
  explicit GatewayEnd(Core& core, bool helloComes = false)
      : core_(&core), stream_(std::make_shared<Stream>()) {
    stream_->helloComes = helloComes;
    stream_->kick = [bell = bell_] { bell->rung.notify_all(); };
    stream_->readOn = [] {};
    core_->opened(stream_);
  }
  ~GatewayEnd() { breakOff(); }
  std::optional<std::string> say(Input message) { return core_->take(stream_, message); }
  std::optional<std::string> hello(uint64_t lane = kLane, uint32_t version = 1) {
    Input message;
    wire::Hello& hello = *message.mutable_hello();
    hello.set_version(version);
    for (const char* name : {"events", "close", "resume", "more"}) hello.add_capabilities(name);
    hello.set_instance_id("gateway");
    hello.set_lane(lane);
    return say(message);
  }
  void bytes(const std::string& client, const std::string& payload, uint64_t offset) {
    Input message;
    message.set_client_uuid(client);
    message.set_payload(payload);
    message.set_offset(offset);
    EXPECT_FALSE(say(message));
  }
  void plain(const std::string& client, const std::string& payload) {
    Input message;
    message.set_client_uuid(client);
    message.set_payload(payload);
    EXPECT_FALSE(say(message));
  }
  void event(const std::string& client, wire::SessionEvent::Kind kind, uint64_t offset = 0,
             bool continued = false, uint32_t assignment = 0, uint64_t announcement = 0) {
    Input message;
    message.set_client_uuid(client);
    message.mutable_event()->set_kind(kind);
    message.mutable_event()->set_offset(offset);
    message.mutable_event()->set_continued(continued);
    message.mutable_event()->set_reason("told so");
    message.mutable_event()->set_assignment(assignment);
    message.mutable_event()->set_announcement(announcement);
    EXPECT_FALSE(say(message));
  }
  void opened(const std::string& client, uint64_t announcement, uint64_t offset = 0) {
    event(client, wire::SessionEvent::KIND_OPENED, offset, announcement > 1, 1, announcement);
  }
  void position(uint64_t sequence, bool attach, uint64_t lane = kLane, uint64_t claim = 0) {
    Input message;
    wire::LanePosition& position = *message.add_lanes();
    position.set_lane(lane);
    position.set_sequence(sequence);
    position.set_attach(attach);
    position.set_claim(claim);
    EXPECT_FALSE(say(message));
  }
  // The next message that comes within the time.
  std::shared_ptr<const Output> next(std::chrono::milliseconds within = 5s) {
    const auto deadline = std::chrono::steady_clock::now() + within;
    for (bool over = false;;) {
      if (auto message = core_->next(stream_, over)) return message;
      finished = over;
      std::unique_lock lock(bell_->mutex);
      if (over || std::chrono::steady_clock::now() >= deadline) return nullptr;
      bell_->rung.wait_for(lock, 5ms);
    }
  }
  void endInput() { core_->inputEnded(stream_); }
  void breakOff() {
    if (!std::exchange(gone_, true)) core_->gone(stream_);
  }
  bool finished = false;

 private:
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
  };
  Core* core_;
  StreamPtr stream_;
  std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
  bool gone_ = false;
};

class UpstreamCore : public ::testing::Test {
 protected:
  void SetUp() override { core->start(); }
  void TearDown() override { core->stop(); }
  void send(const std::string& client, std::string_view bytes) {
    core->send(&client, std::nullopt, bytes, CloseMode::kFlush, false);
  }
  void broadcast(std::string_view bytes) { core->send(nullptr, To::kAll, bytes, CloseMode::kFlush, false); }
  // A stream on which all that the gateway says at its start has been said.
  std::unique_ptr<GatewayEnd> attached(uint64_t pushed = 0, uint64_t lane = kLane, uint64_t claim = 0) {
    auto stream = greeted(lane);
    stream->position(pushed, true, lane, claim);
    return stream;
  }
  // One on which hellos have been said, and nothing more.
  std::unique_ptr<GatewayEnd> greeted(uint64_t lane = kLane) {
    auto stream = std::make_unique<GatewayEnd>(*core);
    EXPECT_FALSE(stream->hello(lane));
    auto answer = stream->next();
    EXPECT_TRUE(answer && answer->has_hello());
    return stream;
  }

  Worker worker;
  std::shared_ptr<Core> core = std::make_shared<Core>(worker, Options{.replayBytes = 100'000});
};

}  // namespace paradox::upstream
