#include "tests/gateway/harness/upstream_messages.h"

#include "upstream.pb.h"

namespace ppx::test {

namespace wire = ::upstream::grpc::service;

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
