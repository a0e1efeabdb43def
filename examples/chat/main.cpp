// paradox-example-chat: one room for all clients of a gateway.
#include <chrono>
#include <string>
#include <vector>

#include "examples/chat/room.h"
#include "examples/common/log.h"
#include "examples/common/options.h"
#include "examples/common/worker_server.h"
#include "upstream/cpp/upstream.h"

namespace ppx::examples {
namespace {

constexpr const char* kPurpose =
    "A chat room as an upstream.\n"
    "Whatever is said is broadcast, so it reaches all clients of the gateway's pool, whichever worker serves "
    "them.\n"
    "Names live in one worker: with several of them, /who and /msg know only the members of the same "
    "worker.\n"
    "A gateway with the plain contract does not tell when a client leaves: then a silent member is dropped "
    "after --idle-timeout.";

class Chat final : public paradox::upstream::Handler {
 public:
  explicit Chat(Room::Limits limits) : room_(limits), upstream_(*this, libraryOptions(limits)) {}
  grpc::Service& service() { return upstream_.service(); }

  void onOpened(const std::string& client, const paradox::upstream::Opened&) override {
    say(room_.open(client, Room::Clock::now()));
    closeUnlessMember(client);
  }
  bool onBytes(const std::string& client, std::string_view bytes, uint64_t) override {
    say(room_.take(client, bytes, Room::Clock::now()));
    closeUnlessMember(client);
    return true;
  }
  void onEnd(const std::string& client) override {
    upstream_.close(client, paradox::upstream::CloseMode::kFlush);
  }
  void onClosed(const std::string& client, const std::string&) override { say(room_.gone(client)); }

 private:
  static paradox::upstream::Options libraryOptions(const Room::Limits& limits) {
    paradox::upstream::Options options;
    options.plainIdleTimeout = limits.idleTimeout;
    return options;
  }
  void say(std::vector<Outgoing> answers) {
    for (const Outgoing& said : answers) {
      if (said.client) {
        upstream_.send(*said.client, said.text);
      } else {
        upstream_.broadcast(paradox::upstream::To::kAll, said.text);
      }
    }
  }
  // Who has left, or found the room full.
  void closeUnlessMember(const std::string& client) {
    if (!room_.has(client)) {
      upstream_.close(client, paradox::upstream::CloseMode::kFlush);
    }
  }

  Room room_;
  paradox::upstream::Upstream upstream_;  // last: its thread calls the rest
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
  Chat chat({std::chrono::seconds(idleSeconds), static_cast<std::size_t>(members)});
  return serve(options, chat.service());
}
