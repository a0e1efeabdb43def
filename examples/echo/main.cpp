// paradox-example-echo: every payload goes back to the client that it came from. The benchmark's worker.
#include <memory>

#include "examples/common/log.h"
#include "examples/common/options.h"
#include "examples/common/probes.h"
#include "examples/common/stream_pump.h"
#include "examples/common/worker_server.h"
#include "examples/echo/echo_message.h"

namespace ppx::examples {
namespace {

class EchoStream final : public StreamPump<grpc::ByteBuffer, grpc::ByteBuffer> {
 protected:
  bool onPayload(grpc::ByteBuffer& request) override {
    grpc::ByteBuffer reply;
    if (makeEcho(request, reply)) {
      const std::size_t bytes = reply.Length();
      send(std::move(reply), bytes);
    } else {
      log("a message that is no InputStreamRequest was ignored");
    }
    return true;
  }
};

class EchoService final : public UpstreamService::WithRawCallbackMethod_bidirectionalStreaming<Probes> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* bidirectionalStreaming(
      grpc::CallbackServerContext*) override {
    return std::make_shared<EchoStream>()->launch();
  }
};

}  // namespace
}  // namespace ppx::examples

int main(int argc, char** argv) {
  using namespace ppx::examples;
  blockStopSignals();
  const WorkerOptions options =
      parseOptions(argc, argv, "An upstream that sends every payload back to its client.");
  setQuiet(options.quiet);
  EchoService service;
  return serve(options, service);
}
