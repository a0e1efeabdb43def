#include "tests/load/grpc_echo_load.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "tests/load/random_stream.h"
#include "upstream.grpc.pb.h"

namespace ppx::load {
namespace {

namespace contract = ::upstream::grpc::service;

struct NamedClient {
  std::string uuid;
  RandomStream stream;
  uint64_t sent = 0;
  uint64_t received = 0;
};

// Only the places of digits matter here: the number is the name.
std::string uuidOf(std::size_t index) {
  std::string digits = std::to_string(index);
  return "00000000-0000-4000-8000-" + std::string(12 - digits.size(), '0') + digits;
}

// One stream and its clients. gRPC's threads call the On... functions, a read and a write perhaps at once.
class EchoStream
    : public grpc::ClientBidiReactor<contract::InputStreamRequest, contract::OutputStreamRequest> {
 public:
  EchoStream(const std::shared_ptr<grpc::Channel>& channel, std::vector<NamedClient> clients,
             std::size_t messageBytes)
      : stub_(contract::UpstreamPeerService::NewStub(channel)),
        clients_(std::move(clients)),
        messageBytes_(messageBytes) {
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      byUuid_[clients_[i].uuid] = i;
    }
  }

  void start(std::size_t inFlight) {
    stub_->async()->bidirectionalStreaming(&context_, this);
    StartCall();
    StartRead(&reply_);
    std::lock_guard lock(mutex_);
    for (std::size_t round = 0; round < inFlight; ++round) {
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        due_.push_back(i);
      }
    }
    writeNext();
  }

  uint64_t done() const { return done_.load(std::memory_order_relaxed); }

  // Ends the stream whatever is under way, and waits until gRPC has let go of it.
  void stop() {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    isOver_.wait(lock, [&] { return over_; });
  }

  std::string problem() const {
    std::lock_guard lock(mutex_);
    return problem_;
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      return;
    }
    std::lock_guard lock(mutex_);
    const auto found = byUuid_.find(reply_.client_uuid());
    if (found == byUuid_.end()) {
      giveUp("an answer to nobody");
      return;
    }
    NamedClient& client = clients_[found->second];
    const std::string& payload = reply_.payload();
    if (payload.size() != messageBytes_ ||
        client.stream.match(client.received, payload.data(), payload.size()) != payload.size()) {
      giveUp("a wrong byte");
      return;
    }
    client.received += payload.size();
    done_.fetch_add(1, std::memory_order_relaxed);
    due_.push_back(found->second);
    if (!writing_) {
      writeNext();
    }
    StartRead(&reply_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok) {
      writeNext();
    }
  }

  void OnDone(const grpc::Status& status) override {
    std::lock_guard lock(mutex_);
    if (problem_.empty() && status.error_code() != grpc::StatusCode::CANCELLED) {
      problem_ = "the stream ended: " + status.error_message();
    }
    over_ = true;
    isOver_.notify_all();
  }

  void writeNext() {
    if (due_.empty()) {
      return;
    }
    NamedClient& client = clients_[due_.front()];
    due_.pop_front();
    request_.set_time(timeText());
    request_.set_client_uuid(client.uuid);
    request_.mutable_payload()->resize(messageBytes_);
    client.stream.fill(client.sent, request_.mutable_payload()->data(), messageBytes_);
    client.sent += messageBytes_;
    writing_ = true;
    grpc::WriteOptions options;
    if (!due_.empty()) {
      options.set_buffer_hint();
    }
    StartWrite(&request_, options);
  }

  // The text changes once a millisecond, and is made as often.
  const std::string& timeText() {
    const Millis now = realtimeMillis();
    if (now != timeOf_) {
      timeOf_ = now;
      time_ = rfc3339(now);
    }
    return time_;
  }

  void giveUp(const char* why) {
    problem_ = why;
    context_.TryCancel();
  }

  std::unique_ptr<contract::UpstreamPeerService::Stub> stub_;
  grpc::ClientContext context_;
  std::vector<NamedClient> clients_;
  const std::size_t messageBytes_;
  std::unordered_map<std::string, std::size_t> byUuid_;
  contract::OutputStreamRequest reply_;
  std::atomic<uint64_t> done_{0};

  mutable std::mutex mutex_;  // what follows, and the clients
  std::condition_variable isOver_;
  contract::InputStreamRequest request_;
  std::deque<std::size_t> due_;  // clients that have a message to send
  bool writing_ = false;
  bool over_ = false;
  std::string problem_;
  Millis timeOf_ = 0;
  std::string time_;
};

std::shared_ptr<grpc::Channel> dial(const Endpoint& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // else all channels share one connection
  return grpc::CreateCustomChannel(target.host + ":" + std::to_string(target.port),
                                   grpc::InsecureChannelCredentials(), arguments);
}

uint64_t doneBy(const std::vector<std::unique_ptr<EchoStream>>& streams) {
  uint64_t done = 0;
  for (const auto& stream : streams) {
    done += stream->done();
  }
  return done;
}

}  // namespace

Result<LoadResult> runGrpcEcho(const LoadOptions& options, std::size_t inFlight, std::size_t streams) {
  std::vector<std::unique_ptr<EchoStream>> running;
  for (std::size_t s = 0; s < streams; ++s) {
    std::vector<NamedClient> clients;
    for (std::size_t i = s; i < options.connections; i += streams) {
      clients.push_back(NamedClient{uuidOf(i), RandomStream(options.seed + i)});
    }
    auto channel = dial(options.target);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      return Error{ETIMEDOUT, "no connection to the upstream"};
    }
    running.push_back(std::make_unique<EchoStream>(channel, std::move(clients), options.messageBytes));
  }
  for (const auto& stream : running) {
    stream->start(inFlight);
  }
  // A measurement's length is a time to be waited for, not an event.
  std::this_thread::sleep_for(std::chrono::nanoseconds(options.duration / 10));
  LoadResult result;
  const uint64_t before = doneBy(running);
  const Nanos from = nowNanos();
  std::this_thread::sleep_for(std::chrono::nanoseconds(options.duration));
  result.done = doneBy(running) - before;
  result.elapsed = nowNanos() - from;
  for (const auto& stream : running) {
    stream->stop();
    if (const std::string problem = stream->problem(); !problem.empty()) {
      ++result.failed;
      result.firstProblem = problem;
    }
  }
  return result;
}

}  // namespace ppx::load
