// The gateway's end of the contract, for driving a worker directly: plain synchronous streams with deadlines.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "upstream.grpc.pb.h"

namespace ppx::test {

using ::upstream::grpc::service::InputStreamRequest;
using ::upstream::grpc::service::OutputStreamRequest;
using ::upstream::grpc::service::UpstreamPeerService;

// A UUID's text for client n of a test.
std::string clientId(int n);

std::unique_ptr<UpstreamPeerService::Stub> connectTo(const std::string& address);

// One bidirectionalStreaming call. One thread may write while another reads. Everything ends at the deadline.
class GatewayStream {
 public:
  explicit GatewayStream(const std::string& address,
                         std::chrono::seconds deadline = std::chrono::seconds(30));
  ~GatewayStream();

  bool say(const std::string& client, const std::string& payload);
  std::optional<OutputStreamRequest> read();
  void endInput() { stream_->WritesDone(); }
  grpc::Status end() { return stream_->Finish(); }

  // Reads until the client has heard the text; all that it heard. Fails the test if the stream ends before.
  std::string readUntil(const std::string& client, const std::string& text);
  // What was read for the client up to now; broadcasts count for everybody.
  std::string heardBy(const std::string& client) const;
  // Forgets what was read.
  void forget();

 private:
  std::unique_ptr<UpstreamPeerService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<InputStreamRequest, OutputStreamRequest>> stream_;
  std::map<std::string, std::string> heard_;
  std::string broadcasts_;
};

}  // namespace ppx::test
