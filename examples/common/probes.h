// `ready` and `live`, the two probes that each upstream answers; the worker's service inherits them.
#pragma once

#include "upstream.grpc.pb.h"

namespace ppx::examples {

using InputMessage = ::upstream::grpc::service::InputStreamRequest;
using OutputMessage = ::upstream::grpc::service::OutputStreamRequest;
using UpstreamService = ::upstream::grpc::service::UpstreamPeerService;

using ProbeBase = UpstreamService::WithCallbackMethod_ready<
    UpstreamService::WithCallbackMethod_live<UpstreamService::Service>>;

// Always ready, always live. gRPC's threads call it.
class Probes : public ProbeBase {
 public:
  grpc::ServerUnaryReactor* ready(grpc::CallbackServerContext* context,
                                  const google::protobuf::Empty* request,
                                  ::upstream::grpc::service::ReadyResult* result) override;
  grpc::ServerBidiReactor<google::protobuf::Empty, ::upstream::grpc::service::LiveResult>* live(
      grpc::CallbackServerContext* context) override;
};

}  // namespace ppx::examples
