#include "tests/gateway/harness/in_test_upstream.h"

#include "tests/gateway/harness/test_service.h"

namespace ppx::test {

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
  for (const StreamRef& stream : streams()) readOn(*stream);
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

}  // namespace ppx::test
