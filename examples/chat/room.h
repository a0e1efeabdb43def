// The chat room: who is in it, and what each line does. Knows nothing of gRPC.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "examples/chat/line_buffer.h"
#include "examples/chat/outbox.h"

namespace ppx::examples {

// With the plain contract an upstream is never told that a client came or went: the first bytes of an unknown
// client are its entry, and a member who is silent for idleTimeout is taken for gone. Not thread-safe.
class Room {
 public:
  using Clock = std::chrono::steady_clock;

  struct Limits {
    std::chrono::seconds idleTimeout{3600};
    std::size_t members = 10'000;
  };

  explicit Room(Limits limits) : limits_(limits) {}

  // A client came, or went.
  std::vector<Outgoing> open(const std::string& client, Clock::time_point now);
  std::vector<Outgoing> gone(const std::string& client);
  bool has(const std::string& client) const { return members_.contains(client); }
  // A client's bytes, as they came; the answers in order.
  std::vector<Outgoing> take(const std::string& client, std::string_view bytes, Clock::time_point now);

  std::size_t size() const { return members_.size(); }

 private:
  struct Member {
    std::string name;
    LineBuffer lines;
    Clock::time_point lastHeard;
    std::list<std::string>::iterator turn;  // in byAge_
  };
  using Members = std::unordered_map<std::string, Member>;

  void expire(Clock::time_point now, Outbox& out);
  Member* enter(const std::string& client, Clock::time_point now, Outbox& out);
  void leave(Members::iterator member);

  // False: the member has left.
  bool onLine(const std::string& client, Member& member, std::string_view line, Outbox& out);
  void onNick(const std::string& client, Member& member, std::string_view name, Outbox& out);
  void onPrivate(const std::string& client, Member& member, std::string_view rest, Outbox& out);
  void onWho(const std::string& client, Outbox& out);

  Limits limits_;
  Members members_;                                      // by client UUID
  std::unordered_map<std::string, std::string> byName_;  // name to client UUID
  std::list<std::string> byAge_;                         // client UUIDs, the longest silent first
  std::size_t guests_ = 0;
};

}  // namespace ppx::examples
