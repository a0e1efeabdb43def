// paradox-example-chat: one room for all clients of a gateway.
#include <chrono>
#include <memory>
#include <mutex>

#include "examples/chat/room.h"
#include "examples/common/log.h"
#include "examples/common/options.h"
#include "examples/common/probes.h"
#include "examples/common/stream_pump.h"
#include "examples/common/time_text.h"
#include "examples/common/worker_server.h"

namespace ppx::examples {
namespace {

constexpr const char* kPurpose =
    "A chat room as an upstream.\n"
    "Whatever is said is broadcast, so it reaches all clients of the gateway's pool, whichever worker serves "
    "them.\n"
    "Names live in one worker: with several of them, /who and /msg know only the members of the same "
    "worker.\n"
    "No upstream is told when a client leaves: a silent member is dropped after --idle-timeout.";

// All streams share one room: a gateway opens one for each of its forwarders.
struct SharedRoom {
  std::mutex mutex;
  Room room;
};

class ChatStream final : public StreamPump<InputMessage, OutputMessage> {
 public:
  explicit ChatStream(SharedRoom& shared) : shared_(shared) {}

 protected:
  bool onPayload(InputMessage& message) override {
    // Sent under the lock, so that two streams give all members the same order within each.
    const std::scoped_lock lock(shared_.mutex);
    for (Outgoing& said : shared_.room.take(message.client_uuid(), message.payload(), Room::Clock::now())) {
      OutputMessage reply;
      reply.set_time(std::string(timeText()));
      if (said.client) {
        reply.set_client_uuid(*said.client);
      } else {
        reply.set_broadcast(OutputMessage::BROADCAST_ALL);
      }
      const std::size_t bytes = said.text.size();
      reply.set_payload(std::move(said.text));
      send(std::move(reply), bytes);
    }
    return true;
  }

 private:
  SharedRoom& shared_;
};

class ChatService final : public UpstreamService::WithCallbackMethod_bidirectionalStreaming<Probes> {
 public:
  explicit ChatService(Room::Limits limits) : shared_{{}, Room(limits)} {}

  grpc::ServerBidiReactor<InputMessage, OutputMessage>* bidirectionalStreaming(
      grpc::CallbackServerContext*) override {
    return std::make_shared<ChatStream>(shared_)->launch();
  }

 private:
  SharedRoom shared_;
};

}  // namespace
}  // namespace ppx::examples

int main(int argc, char** argv) {
  using namespace ppx::examples;
  blockStopSignals();
  std::int64_t idleSeconds = 3600;
  std::int64_t members = 10'000;
  const WorkerOptions options = parseOptions(
      argc, argv, kPurpose,
      {{"idle-timeout", &idleSeconds, "seconds of silence after which a member is gone", false, 1, 864'000},
       {"max-members", &members, "more than these find the room full", false, 1, 1'000'000}});
  setQuiet(options.quiet);
  ChatService service({std::chrono::seconds(idleSeconds), static_cast<std::size_t>(members)});
  return serve(options, service);
}
