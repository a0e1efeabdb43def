#include "upstream/cpp/upstream.h"

#include "upstream.grpc.pb.h"
#include "upstream/cpp/core.h"

namespace paradox::upstream {
namespace {

namespace wire = ::upstream::grpc::service;
using google::protobuf::Empty;

// One bidirectionalStreaming call: one read and one write under way at most.
class Call final : public grpc::ServerBidiReactor<Input, Output>, public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<Core> core, bool helloComes)
      : core_(std::move(core)), stream_(std::make_shared<Stream>()) {
    stream_->helloComes = helloComes;
  }

  void launch() {
    self_ = shared_from_this();
    stream_->kick = [call = weak_from_this()] {
      if (auto self = call.lock()) self->writeOn();
    };
    stream_->readOn = [call = weak_from_this()] {
      if (auto self = call.lock()) self->readOn();
    };
    core_->opened(stream_);
    // Without it a first write with a buffer hint would never complete.
    StartSendInitialMetadata();
    readOn();
  }

 private:
  void readOn() {
    {
      std::lock_guard lock(mutex_);
      if (reading_ || ending_) return;
      reading_ = true;
    }
    StartRead(&input_);
  }

  void OnReadDone(bool ok) override {
    bool ending;
    {
      std::lock_guard lock(mutex_);
      reading_ = false;
      ending = ending_;
    }
    if (ending) return end(grpc::Status::OK);
    if (!ok) return core_->inputEnded(stream_);
    if (auto error = core_->take(stream_, input_)) return end({grpc::StatusCode::INVALID_ARGUMENT, *error});
    if (core_->mayRead(stream_)) readOn();
  }

  void writeOn() {
    std::shared_ptr<const Output> message;
    bool last = false;
    {
      std::lock_guard lock(mutex_);
      if (writing_ || ending_) return;
      message = output_ = core_->next(stream_, last);
      writing_ = message != nullptr;
    }
    if (message)
      StartWrite(message.get());
    else if (last)
      end(grpc::Status::OK);
  }

  void OnWriteDone(bool ok) override {
    bool ending;
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      ending = ending_;
    }
    ok && !ending ? writeOn() : end(grpc::Status::CANCELLED);
  }

  void OnCancel() override { end(grpc::Status::CANCELLED); }

  // With the first status that it is called with, once nothing is under way.
  void end(const grpc::Status& status) {
    {
      std::lock_guard lock(mutex_);
      if (!ending_) status_ = status;
      ending_ = true;
      if (reading_ || writing_ || finished_) return;
      finished_ = true;
    }
    Finish(status_);
  }

  void OnDone() override {
    core_->gone(stream_);
    self_.reset();
  }

  std::shared_ptr<Core> core_;
  StreamPtr stream_;
  std::shared_ptr<Call> self_;
  Input input_;
  std::mutex mutex_;  // what follows; before the core's
  std::shared_ptr<const Output> output_;
  grpc::Status status_;
  bool reading_ = false, writing_ = false, ending_ = false, finished_ = false;
};

class Live final : public grpc::ServerBidiReactor<Empty, wire::LiveResult> {
 public:
  Live() { StartRead(&question_); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    answer_.set_live(true);
    StartWrite(&answer_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    StartRead(&question_);
  }
  void OnDone() override { delete this; }

  Empty question_;
  wire::LiveResult answer_;
};

}  // namespace

class Upstream::Service final : public wire::UpstreamPeerService::CallbackService {
 public:
  explicit Service(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  grpc::ServerBidiReactor<Input, Output>* bidirectionalStreaming(
      grpc::CallbackServerContext* context) override {
    auto call = std::make_shared<Call>(core_, context->client_metadata().contains("paradoxplex-extensions"));
    call->launch();
    return call.get();
  }
  grpc::ServerUnaryReactor* ready(grpc::CallbackServerContext* context, const Empty*,
                                  wire::ReadyResult* result) override {
    result->set_ready(true);
    result->set_extensions(1);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerBidiReactor<Empty, wire::LiveResult>* live(grpc::CallbackServerContext*) override {
    return new Live;
  }

 private:
  std::shared_ptr<Core> core_;
};

Upstream::Upstream(Handler& handler, Options options)
    : core_(std::make_shared<Core>(handler, options)), service_(std::make_unique<Service>(core_)) {
  core_->start();
}

Upstream::~Upstream() {
  core_->stop();
}

grpc::Service& Upstream::service() {
  return *service_;
}

bool Upstream::send(const std::string& client, std::string_view bytes) {
  return bytes.empty() || core_->send(&client, std::nullopt, bytes, CloseMode::kFlush, false);
}

bool Upstream::broadcast(To to, std::string_view bytes) {
  return bytes.empty() || core_->send(nullptr, to, bytes, CloseMode::kFlush, false);
}

bool Upstream::close(const std::string& client, CloseMode mode) {
  return core_->send(&client, std::nullopt, {}, mode, true);
}

void Upstream::handled(const std::string& client, std::size_t bytes) {
  core_->handled(client, bytes);
}

bool Upstream::isFull(const std::string& client) {
  return core_->isFull(client);
}

}  // namespace paradox::upstream
