#include "tests/prober/scripted_upstream.h"

#include <unistd.h>

namespace ppx::test {

using google::protobuf::Empty;
using upstream::grpc::service::LiveResult;
using upstream::grpc::service::ReadyResult;
using upstream::grpc::service::UpstreamPeerService;

std::string ownLoopback() {
  auto pid = static_cast<uint32_t>(::getpid());
  return "127." + std::to_string(64 + (pid >> 16 & 63)) + "." + std::to_string(pid >> 8 & 255) + "." +
         std::to_string(1 + (pid & 255) % 254);
}

class ScriptedUpstream::HangingReady : public grpc::ServerUnaryReactor {
  void OnCancel() override { Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }
};

class ScriptedUpstream::LiveReactor : public grpc::ServerBidiReactor<Empty, LiveResult> {
 public:
  explicit LiveReactor(ScriptedUpstream& owner) : owner_(owner) {
    std::lock_guard lock(owner_.mutex_);
    ++owner_.counts_.liveOpened;
    ++owner_.counts_.liveNow;
    owner_.changed_.notify_all();
    Script::Live live = owner_.script_.live;
    if (live == Script::Live::kUnimplemented)
      Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""));
    else if (live == Script::Live::kEndAtOnce)
      Finish(grpc::Status::OK);
    else
      StartRead(&question_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    std::unique_lock lock(owner_.mutex_);
    ++owner_.counts_.liveAsked;
    owner_.changed_.notify_all();
    Script::Live live = owner_.script_.live;
    lock.unlock();
    switch (live) {
      case Script::Live::kYes:
      case Script::Live::kNo:
      case Script::Live::kAnswerAndEnd:
        answer_.set_live(live != Script::Live::kNo);
        last_ = live == Script::Live::kAnswerAndEnd;
        return StartWrite(&answer_);
      case Script::Live::kSilent:
        return StartRead(&question_);
      case Script::Live::kEndAtOnce:
      case Script::Live::kUnimplemented:
        return Finish(grpc::Status::OK);
    }
  }
  void OnWriteDone(bool ok) override {
    if (!ok || last_) return Finish(grpc::Status::OK);
    StartRead(&question_);
  }
  void OnDone() override {
    {
      std::lock_guard lock(owner_.mutex_);
      --owner_.counts_.liveNow;
      owner_.changed_.notify_all();
    }
    delete this;
  }

  ScriptedUpstream& owner_;
  Empty question_;
  LiveResult answer_;
  bool last_ = false;
};

class ScriptedUpstream::Service : public UpstreamPeerService::CallbackService {
 public:
  explicit Service(ScriptedUpstream& owner) : owner_(owner) {}

  grpc::ServerUnaryReactor* ready(grpc::CallbackServerContext* context, const Empty*,
                                  ReadyResult* answer) override {
    std::unique_lock lock(owner_.mutex_);
    ++owner_.counts_.readyAsked;
    owner_.changed_.notify_all();
    Script::Ready mode = owner_.script_.ready;
    lock.unlock();
    if (mode == Script::Ready::kHang) return new HangingReady;
    answer->set_ready(mode == Script::Ready::kYes);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(mode == Script::Ready::kFail ? grpc::Status(grpc::StatusCode::INTERNAL, "out of\norder")
                                                 : grpc::Status::OK);
    return reactor;
  }
  grpc::ServerBidiReactor<Empty, LiveResult>* live(grpc::CallbackServerContext*) override {
    return new LiveReactor(owner_);
  }

 private:
  ScriptedUpstream& owner_;
};

ScriptedUpstream::ScriptedUpstream(const std::string& address, Script script)
    : script_(script), service_(std::make_unique<Service>(*this)) {
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
}

ScriptedUpstream::~ScriptedUpstream() {
  if (!server_) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

void ScriptedUpstream::setScript(Script script) {
  std::lock_guard lock(mutex_);
  script_ = script;
}

Counts ScriptedUpstream::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

bool ScriptedUpstream::waitFor(const std::function<bool(const Counts&)>& holds,
                               std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return holds(counts_); });
}

}  // namespace ppx::test
