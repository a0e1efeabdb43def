#include "tests/gateway/harness/test_service.h"

#include <deque>

namespace ppx::test {
namespace {

namespace wire = ::upstream::grpc::service;
using google::protobuf::Empty;
using State = InTestUpstream::State;

std::string bytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  (void)buffer.Dump(&slices);
  std::string bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

class StreamReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                            public UpstreamStream,
                            public std::enable_shared_from_this<StreamReactor> {
 public:
  StreamReactor(std::shared_ptr<State> state, grpc::CallbackServerContext* context)
      : state_(std::move(state)) {
    for (const auto& [key, value] : context->client_metadata())
      metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
  }

  void launch() {
    self_ = shared_from_this();
    {
      std::lock_guard lock(state_->mutex);
      state_->streams.push_back(self_);
      ++state_->streamsEver;
    }
    state_->changed.notify_all();
    tell(InTestUpstream::StreamNews::kOpened);
    StartSendInitialMetadata();
    readNext();
  }

  void reply(const std::string& client, const std::string& payload) override {
    send(replyMessage(client, payload));
  }
  bool broadcast(Broadcast to, const std::string& payload) override {
    return queue(broadcastMessage(static_cast<int>(to), payload));
  }
  void send(const std::string& undecoded) override { queue(undecoded); }
  void end(bool orderly) override {
    std::lock_guard lock(mutex_);
    ending_ = true;
    orderly_ = orderly;
    advanceLocked();
  }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

  // After a pause.
  void readOn() {
    std::unique_lock lock(mutex_);
    if (!paused_) return;
    paused_ = false;
    lock.unlock();
    StartRead(&input_);
  }

 private:
  bool queue(const std::string& message) {
    std::lock_guard lock(mutex_);
    if (ending_ || broken_) return false;
    grpc::Slice slice(message);
    queue_.emplace_back(&slice, 1);
    advanceLocked();
    return true;
  }

  void tell(InTestUpstream::StreamNews news) {
    InTestUpstream::StreamHook hook;
    {
      std::lock_guard lock(state_->mutex);
      hook = state_->onStream;
    }
    if (hook) hook(shared_from_this(), news);
  }

  void readNext() {
    {
      std::scoped_lock locks(state_->mutex, mutex_);
      if (state_->hanging) {
        paused_ = true;
        return;
      }
    }
    StartRead(&input_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      tell(InTestUpstream::StreamNews::kInputEnded);
      bool ends;
      {
        std::lock_guard lock(state_->mutex);
        ends = state_->endsAtInputEnd;
      }
      if (ends) end(true);
      return;
    }
    wire::InputStreamRequest request;
    request.ParseFromString(bytesOf(input_));
    InTestUpstream::MessageHook hook;
    InTestUpstream::RawHook raw;
    {
      std::lock_guard lock(state_->mutex);
      raw = state_->raw;
    }
    if (raw) {
      raw(*this, bytesOf(input_));
      return readNext();
    }
    {
      std::lock_guard lock(state_->mutex);
      ++state_->messages;
      state_->largest = std::max(state_->largest, request.payload().size());
      state_->clients.insert(request.client_uuid());
      if (state_->keep) state_->received[request.client_uuid()] += request.payload();
      hook = state_->hook;
    }
    state_->changed.notify_all();
    if (hook)
      hook(*this, request.client_uuid(), request.payload());
    else
      reply(request.client_uuid(), request.payload());
    readNext();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    advanceLocked();
  }

  void OnCancel() override {
    std::lock_guard lock(mutex_);
    broken_ = true;
    advanceLocked();
  }

  void OnDone() override {
    {
      std::lock_guard lock(state_->mutex);
      std::erase(state_->streams, self_);
    }
    state_->changed.notify_all();
    self_.reset();
  }

  void advanceLocked() {
    if (writing_ || finished_) return;
    if (!broken_ && !queue_.empty()) {
      writing_ = true;
      output_ = std::move(queue_.front());
      queue_.pop_front();
      StartWrite(&output_);
    } else if (broken_ || ending_) {
      finished_ = true;
      Finish(broken_    ? grpc::Status::CANCELLED
             : orderly_ ? grpc::Status::OK
                        : grpc::Status(grpc::StatusCode::INTERNAL, "as the test ordered"));
    }
  }

  std::shared_ptr<State> state_;
  std::map<std::string, std::string> metadata_;
  std::mutex mutex_;
  std::shared_ptr<StreamReactor> self_;
  grpc::ByteBuffer input_, output_;
  std::deque<grpc::ByteBuffer> queue_;
  bool writing_ = false, ending_ = false, orderly_ = true, broken_ = false, finished_ = false,
       paused_ = false;
};

class LiveReactor final : public grpc::ServerBidiReactor<Empty, wire::LiveResult> {
 public:
  explicit LiveReactor(std::shared_ptr<State> state) : state_(std::move(state)) { StartRead(&question_); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    {
      std::lock_guard lock(state_->mutex);
      answer_.set_live(state_->live);
    }
    answer_.set_time("2026-01-01T00:00:00Z");
    StartWrite(&answer_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    StartRead(&question_);
  }
  void OnDone() override { delete this; }

  std::shared_ptr<State> state_;
  Empty question_;
  wire::LiveResult answer_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* TestService::bidirectionalStreaming(
    grpc::CallbackServerContext* context) {
  auto reactor = std::make_shared<StreamReactor>(state_, context);
  reactor->launch();
  return reactor.get();
}

grpc::ServerUnaryReactor* TestService::ready(grpc::CallbackServerContext* context, const Empty*,
                                             wire::ReadyResult* result) {
  {
    std::lock_guard lock(state_->mutex);
    result->set_ready(state_->ready);
    result->set_extensions(state_->extensions);
    ++state_->readyAsked;
  }
  result->set_time("2026-01-01T00:00:00Z");
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerBidiReactor<Empty, wire::LiveResult>* TestService::live(grpc::CallbackServerContext*) {
  return new LiveReactor(state_);
}

void readOn(UpstreamStream& stream) {
  static_cast<StreamReactor&>(stream).readOn();
}

}  // namespace ppx::test
