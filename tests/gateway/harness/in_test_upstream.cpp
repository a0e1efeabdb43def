#include "tests/gateway/harness/in_test_upstream.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>

#include "upstream.grpc.pb.h"

namespace ppx::test {
namespace {

namespace wire = ::upstream::grpc::service;
using google::protobuf::Empty;

std::string bytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  (void)buffer.Dump(&slices);
  std::string bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

}  // namespace

struct InTestUpstream::State {
  mutable std::mutex mutex;
  std::condition_variable changed;
  MessageHook hook;
  RawHook raw;
  StreamHook onStream;
  uint32_t extensions = 0;
  bool ready = true, live = true, hanging = false, endsAtInputEnd = true, keep = true;
  std::vector<StreamRef> streams;
  std::map<std::string, std::string> received;
  std::set<std::string> clients;
  size_t messages = 0, largest = 0, streamsEver = 0, readyAsked = 0;
};

namespace {

using State = InTestUpstream::State;

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

using Probes = wire::UpstreamPeerService::WithCallbackMethod_ready<
    wire::UpstreamPeerService::WithCallbackMethod_live<wire::UpstreamPeerService::Service>>;

class TestService final
    : public wire::UpstreamPeerService::WithRawCallbackMethod_bidirectionalStreaming<Probes> {
 public:
  explicit TestService(std::shared_ptr<State> state) : state_(std::move(state)) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* bidirectionalStreaming(
      grpc::CallbackServerContext* context) override {
    auto reactor = std::make_shared<StreamReactor>(state_, context);
    reactor->launch();
    return reactor.get();
  }
  grpc::ServerUnaryReactor* ready(grpc::CallbackServerContext* context, const Empty*,
                                  wire::ReadyResult* result) override {
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
  grpc::ServerBidiReactor<Empty, wire::LiveResult>* live(grpc::CallbackServerContext*) override {
    return new LiveReactor(state_);
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace

struct InTestUpstream::Server {
  explicit Server(std::shared_ptr<State> state) : service(std::move(state)) {}
  TestService service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

InTestUpstream::InTestUpstream(uint16_t port)
    : state_(std::make_shared<State>()), server_(std::make_unique<Server>(state_)) {
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(-1);
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                           &server_->port);
  builder.RegisterService(&server_->service);
  server_->server = builder.BuildAndStart();
  if (!server_->server || server_->port == 0) throw std::runtime_error("the test's upstream cannot listen");
}

InTestUpstream::~InTestUpstream() {
  stop();
}

void InTestUpstream::stop() {
  if (!server_->server) return;
  setHanging(false);
  server_->server->Shutdown(std::chrono::system_clock::now());
  server_->server->Wait();
  server_->server.reset();
}

uint16_t InTestUpstream::port() const {
  return static_cast<uint16_t>(server_->port);
}

void InTestUpstream::onMessage(MessageHook hook) {
  std::lock_guard lock(state_->mutex);
  state_->hook = std::move(hook);
}

void InTestUpstream::onRaw(RawHook hook) {
  std::lock_guard lock(state_->mutex);
  state_->raw = std::move(hook);
}

void InTestUpstream::onStream(StreamHook hook) {
  std::lock_guard lock(state_->mutex);
  state_->onStream = std::move(hook);
}

void InTestUpstream::announceExtensions(uint32_t version) {
  std::lock_guard lock(state_->mutex);
  state_->extensions = version;
}

void InTestUpstream::setReady(bool ready) {
  std::lock_guard lock(state_->mutex);
  state_->ready = ready;
}

void InTestUpstream::setLive(bool live) {
  std::lock_guard lock(state_->mutex);
  state_->live = live;
}

void InTestUpstream::setHanging(bool hanging) {
  {
    std::lock_guard lock(state_->mutex);
    state_->hanging = hanging;
  }
  if (hanging) return;
  for (const StreamRef& stream : streams()) static_cast<StreamReactor&>(*stream).readOn();
}

void InTestUpstream::setEndsAtInputEnd(bool ends) {
  std::lock_guard lock(state_->mutex);
  state_->endsAtInputEnd = ends;
}

void InTestUpstream::keepBytes(bool keep) {
  std::lock_guard lock(state_->mutex);
  state_->keep = keep;
}

std::vector<StreamRef> InTestUpstream::streams() const {
  std::lock_guard lock(state_->mutex);
  return state_->streams;
}

StreamRef InTestUpstream::anyStream() const {
  std::lock_guard lock(state_->mutex);
  if (state_->streams.empty()) throw std::runtime_error("the upstream has no stream");
  return state_->streams.front();
}

void InTestUpstream::waitForStreams(size_t count, Millis within) {
  std::unique_lock lock(state_->mutex);
  if (!state_->changed.wait_for(lock, within, [&] { return state_->streams.size() == count; }))
    throw std::runtime_error("the upstream has " + std::to_string(state_->streams.size()) + " streams, not " +
                             std::to_string(count));
}

void InTestUpstream::endStreams(bool orderly) {
  for (const StreamRef& stream : streams()) stream->end(orderly);
}

size_t InTestUpstream::messages() const {
  std::lock_guard lock(state_->mutex);
  return state_->messages;
}

size_t InTestUpstream::largestPayload() const {
  std::lock_guard lock(state_->mutex);
  return state_->largest;
}

std::map<std::string, std::string> InTestUpstream::received() const {
  std::lock_guard lock(state_->mutex);
  return state_->received;
}

size_t InTestUpstream::clients() const {
  std::lock_guard lock(state_->mutex);
  return state_->clients.size();
}

size_t InTestUpstream::streamsEver() const {
  std::lock_guard lock(state_->mutex);
  return state_->streamsEver;
}

size_t InTestUpstream::readyAsked() const {
  std::lock_guard lock(state_->mutex);
  return state_->readyAsked;
}

std::string InTestUpstream::clientThatSent(const std::string& bytes) const {
  std::lock_guard lock(state_->mutex);
  for (const auto& [client, all] : state_->received)
    if (all == bytes) return client;
  return {};
}

std::string InTestUpstream::waitForClientThatSent(const std::string& bytes, Millis within) {
  Deadline deadline(within);
  for (;;) {
    std::string client = clientThatSent(bytes);
    if (!client.empty()) return client;
    std::unique_lock lock(state_->mutex);
    size_t before = state_->messages;
    lock.unlock();
    if (client = clientThatSent(bytes); !client.empty()) return client;
    lock.lock();
    if (!state_->changed.wait_for(lock, Millis(deadline.left()), [&] { return state_->messages != before; }))
      throw std::runtime_error("no client sent \"" + bytes.substr(0, 40) + "\"");
  }
}

std::string replyMessage(const std::string& client, const std::string& payload) {
  wire::OutputStreamRequest message;
  message.set_time("2026-01-01T00:00:00Z");
  message.set_client_uuid(client);
  message.set_payload(payload);
  return message.SerializeAsString();
}

std::string messageWithoutTarget(const std::string& payload) {
  wire::OutputStreamRequest message;
  message.set_payload(payload);
  return message.SerializeAsString();
}

std::string broadcastMessage(int value, const std::string& payload) {
  wire::OutputStreamRequest message;
  message.set_time("2026-01-01T00:00:00Z");
  message.set_broadcast(static_cast<wire::OutputStreamRequest::Broadcast>(value));
  message.set_payload(payload);
  return message.SerializeAsString();
}

}  // namespace ppx::test
