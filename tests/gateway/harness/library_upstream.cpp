#include "tests/gateway/harness/library_upstream.h"

#include <stdexcept>

namespace ppx::test {

LibraryUpstream::LibraryUpstream(uint16_t port, paradox::upstream::Options options)
    : upstream_(std::make_unique<paradox::upstream::Upstream>(*this, options)) {
  listen(port);
}

void LibraryUpstream::breakStreams() {
  stop();
  listen(static_cast<uint16_t>(port_));
}

void LibraryUpstream::listen(uint16_t port) {
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(&upstream_->service());
  server_ = builder.BuildAndStart();
  if (!server_ || port_ == 0) throw std::runtime_error("the test's upstream cannot listen");
}

LibraryUpstream::~LibraryUpstream() {
  stop();
}

void LibraryUpstream::stop() {
  if (!server_) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void LibraryUpstream::onBytes(BytesHook hook) {
  std::lock_guard lock(mutex_);
  hook_ = std::move(hook);
}

std::map<std::string, LibraryUpstream::Told> LibraryUpstream::told() const {
  std::lock_guard lock(mutex_);
  return told_;
}

std::string LibraryUpstream::waitFor(const std::string& what, const std::function<bool(const Told&)>& holds) {
  std::unique_lock lock(mutex_);
  std::string found;
  if (!changed_.wait_for(lock, kPatience, [&] {
        for (const auto& [client, told] : told_)
          if (holds(told)) {
            found = client;
            return true;
          }
        return false;
      }))
    throw std::runtime_error("not within patience: " + what);
  return found;
}

void LibraryUpstream::note(const std::string& client, const std::function<void(Told&)>& change) {
  {
    std::lock_guard lock(mutex_);
    change(told_[client]);
  }
  changed_.notify_all();
}

void LibraryUpstream::onOpened(const std::string& client, const paradox::upstream::Opened& how) {
  note(client, [&](Told& told) {
    ++told.opened;
    told.how = how;
  });
}

bool LibraryUpstream::onBytes(const std::string& client, std::string_view bytes, uint64_t offset) {
  BytesHook hook;
  note(client, [&](Told& told) {
    if (told.bytes.empty()) told.firstOffset = offset;
    told.bytes += bytes;
    hook = hook_;
  });
  if (hook) return hook(client, bytes);
  upstream_->send(client, bytes);
  return true;
}

void LibraryUpstream::onEnd(const std::string& client) {
  note(client, [](Told& told) { ++told.ended; });
}

void LibraryUpstream::onClosed(const std::string& client, const std::string& reason) {
  note(client, [&](Told& told) {
    ++told.closed;
    told.reason = reason;
  });
}

}  // namespace ppx::test
