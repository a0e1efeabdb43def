// paradox-example-echo: every payload goes back to the client that it came from. The benchmark's worker.
#include <memory>

#include "examples/common/log.h"
#include "examples/common/options.h"
#include "examples/common/probes.h"
#include "examples/common/stream_pump.h"
#include "examples/common/worker_server.h"
#include "examples/echo/echo_message.h"
#include "upstream/cpp/upstream.h"

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

// With the extensions: exact over crashes of the gateway, and a client that has ended its input is closed when it has
// its answers.
class ResumingEcho final : public paradox::upstream::Handler {
 public:
  paradox::upstream::Upstream upstream{*this};

  bool onBytes(const std::string& client, std::string_view bytes, uint64_t) override {
    upstream.send(client, bytes);
    return true;
  }
  void onEnd(const std::string& client) override {
    upstream.close(client, paradox::upstream::CloseMode::kFlush);
  }
};

}  // namespace
}  // namespace ppx::examples

int main(int argc, char** argv) {
  using namespace ppx::examples;
  blockStopSignals();
  bool extensions = false;
  const WorkerOptions options = parseOptions(
      argc, argv, "An upstream that sends every payload back to its client.",
      {{"extensions", &extensions, "announce the contract's extensions: events, close, resume"}});
  setQuiet(options.quiet);
  if (extensions) {
    ResumingEcho echo;
    return serve(options, echo.upstream.service());
  }
  EchoService service;
  return serve(options, service);
}
