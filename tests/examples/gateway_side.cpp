#include "tests/examples/gateway_side.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace ppx::test {

std::string clientId(int n) {
  return fmt::format("00000000-0000-4000-8000-{:012x}", n);
}

std::unique_ptr<UpstreamPeerService::Stub> connectTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return UpstreamPeerService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

GatewayStream::GatewayStream(const std::string& address, std::chrono::seconds deadline)
    : stub_(connectTo(address)) {
  context_.set_deadline(std::chrono::system_clock::now() + deadline);
  context_.set_wait_for_ready(true);
  stream_ = stub_->bidirectionalStreaming(&context_);
}

GatewayStream::~GatewayStream() {
  context_.TryCancel();
}

bool GatewayStream::say(const std::string& client, const std::string& payload) {
  InputStreamRequest request;
  request.set_time("2026-01-01T00:00:00.000Z");
  request.set_client_uuid(client);
  request.set_payload(payload);
  return stream_->Write(request);
}

std::optional<OutputStreamRequest> GatewayStream::read() {
  OutputStreamRequest reply;
  if (!stream_->Read(&reply)) {
    return std::nullopt;
  }
  if (reply.target_case() == OutputStreamRequest::kBroadcast) {
    broadcasts_ += reply.payload();
  } else {
    heard_[reply.client_uuid()] += reply.payload();
  }
  return reply;
}

std::string GatewayStream::heardBy(const std::string& client) const {
  const auto found = heard_.find(client);
  return (found == heard_.end() ? "" : found->second) + broadcasts_;
}

std::string GatewayStream::readUntil(const std::string& client, const std::string& text) {
  while (heardBy(client).find(text) == std::string::npos) {
    if (!read()) {
      ADD_FAILURE() << "the stream ended before " << client << " heard '" << text << "' but heard '"
                    << heardBy(client) << "'";
      break;
    }
  }
  return heardBy(client);
}

void GatewayStream::forget() {
  heard_.clear();
  broadcasts_.clear();
}

}  // namespace ppx::test
