// The gRPC side of InTestUpstream: what the test ordered (State) and the service that answers so.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <set>

#include "tests/gateway/harness/in_test_upstream.h"
#include "upstream.grpc.pb.h"

namespace ppx::test {

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

using Probes = ::upstream::grpc::service::UpstreamPeerService::WithCallbackMethod_ready<
    ::upstream::grpc::service::UpstreamPeerService::WithCallbackMethod_live<
        ::upstream::grpc::service::UpstreamPeerService::Service>>;

class TestService final
    : public ::upstream::grpc::service::UpstreamPeerService::WithRawCallbackMethod_bidirectionalStreaming<
          Probes> {
 public:
  explicit TestService(std::shared_ptr<InTestUpstream::State> state) : state_(std::move(state)) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* bidirectionalStreaming(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ready(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                  ::upstream::grpc::service::ReadyResult* result) override;
  grpc::ServerBidiReactor<google::protobuf::Empty, ::upstream::grpc::service::LiveResult>* live(
      grpc::CallbackServerContext*) override;

 private:
  std::shared_ptr<InTestUpstream::State> state_;
};

// After the state no longer says `hanging`: the stream, one of State::streams, is read again.
void readOn(UpstreamStream& stream);

}  // namespace ppx::test
