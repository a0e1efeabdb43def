// paradox-load-broadcaster: an upstream that sends every payload to every session of its pool.
#include <memory>

#include "examples/common/options.h"
#include "examples/common/probes.h"
#include "examples/common/stream_pump.h"
#include "examples/common/time_text.h"
#include "examples/common/worker_server.h"

namespace ppx::examples {
namespace {

class BroadcastStream final : public StreamPump<InputMessage, OutputMessage> {
 protected:
  bool onPayload(InputMessage& request) override {
    OutputMessage reply;
    reply.set_time(std::string(timeText()));
    reply.set_broadcast(OutputMessage::BROADCAST_ALL);
    reply.set_payload(request.payload());
    const std::size_t bytes = reply.payload().size();
    send(std::move(reply), bytes);
    return true;
  }
};

class BroadcastService final : public UpstreamService::WithCallbackMethod_bidirectionalStreaming<Probes> {
 public:
  grpc::ServerBidiReactor<InputMessage, OutputMessage>* bidirectionalStreaming(
      grpc::CallbackServerContext*) override {
    return std::make_shared<BroadcastStream>()->launch();
  }
};

}  // namespace
}  // namespace ppx::examples

int main(int argc, char** argv) {
  using namespace ppx::examples;
  blockStopSignals();
  const WorkerOptions options =
      parseOptions(argc, argv, "An upstream that sends every payload to every session.");
  BroadcastService service;
  return serve(options, service);
}
