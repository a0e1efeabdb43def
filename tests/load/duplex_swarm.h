// Many clients at once, each sending a random stream of its own and checking each byte of its echo: what the
// end-to-end tests put through the gateway while they restart, kill and starve things behind it.
//
//   auto swarm = DuplexSwarm::connect({.target = {"127.0.0.1", port}, .connections = 1000}, 10 * kSecond);
//   swarm->runFor(2 * kSecond);  kill(...);  swarm->runFor(2 * kSecond);
//   EXPECT_TRUE(swarm->drain(10 * kSecond));  EXPECT_EQ(swarm->stats().intact, 1000u);
//
// All calls block, with a deadline, on events; between them the clients stand still. One thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "tests/load/epoll_loop.h"
#include "tests/load/sockets.h"
#include "tests/load/verified_connection.h"

namespace ppx::load {

struct SwarmOptions {
  Endpoint target;
  std::size_t connections = 1;
  uint64_t seed = 1;                   // connection i sends the stream of seed + i
  uint64_t bytesEach = 0;              // stop sending after so many; 0: never
  uint64_t windowBytes = 64 << 10;     // at most so many sent and not yet echoed, each
  uint64_t bytesPerSecond = 0;         // sends no more than so many, each; 0: as fast as they are echoed
  bool halfClose = false;              // a FIN after bytesEach: the other side is then expected to end too
  std::size_t slowReaders = 0;         // the first so many read no faster than...
  uint64_t slowBytesPerSecond = 4096;  // ...this, each; 0: not at all
  unsigned sources = 0;                // client addresses to spread over; 0: 127.0.0.1 alone
  std::size_t brief = 0;               // the last so many send an amount of their own, then a FIN...
  uint64_t briefBytes = 256 << 10;     // ...from 1 to so many bytes; see renewBrief()
};

struct SwarmStats {
  std::size_t open = 0;
  std::size_t ended = 0;       // by the other side's FIN
  std::size_t reset = 0;       // refused, reset, timed out
  std::size_t mismatched = 0;  // a wrong byte, or one too many
  std::size_t intact = 0;      // open or ended, and every byte offered has come back
  uint64_t bytesSent = 0;
  uint64_t bytesEchoed = 0;
  Nanos longestPause =
      0;  // the longest that a client with bytes under way saw none come back; slow readers apart
  std::string firstProblem;  // of the first reset or mismatch, for a person
};

class DuplexSwarm {
 public:
  // Starts all connections; they are established, or refused, while it runs.
  static Result<std::unique_ptr<DuplexSwarm>> connect(const SwarmOptions& options);

  void runFor(Nanos time);
  // Until the flag is down, which it looks at every few milliseconds.
  void runWhile(const std::atomic<bool>& going);
  // Each of these is false if time ran out first. Connections that are over do not count.
  bool runUntilBytes(uint64_t echoedEach, Nanos timeout);  // each has had so many back
  bool runUntilEnd(Nanos timeout);                         // the other side has ended each of them
  bool drain(
      Nanos
          timeout);  // sends nothing new; each has had back all that it sent. Sending goes on in the next run.

  // Connects each brief client anew whom the other side has ended after it had had back all that it was to send, and
  // returns how many these were. Any other brief client that is over stays as it is, and shows in stats().
  Result<std::size_t> renewBrief();

  std::size_t size() const { return clients_.size(); }
  const VerifiedConnection& client(std::size_t index) const { return clients_[index].link; }
  void close(std::size_t index);  // our side; its descriptor is gone at once
  SwarmStats stats() const;

 private:
  struct Client {
    VerifiedConnection link;
    uint64_t slowCredit = 0;    // bytes that a slow reader may read now
    Nanos quietSince = 0;       // nothing has come back since then; 0: nothing is under way
    uint64_t end = UINT64_MAX;  // it sends no more than so much
    Nanos born = 0;
  };

  explicit DuplexSwarm(const SwarmOptions& options) : options_(options) {}
  template <typename Done>
  bool run(Nanos timeout, const Done& done);
  static bool isOver(const Client& client);
  bool isSlow(std::size_t index) const { return index < options_.slowReaders; }
  Result<Client> makeClient(std::size_t index);
  bool isBrief(std::size_t index) const { return index >= options_.connections - options_.brief; }
  void advance(std::size_t index, uint32_t events, Nanos now);
  void offerMore(std::size_t index, Nanos now);
  void tickSlowReaders(Nanos now);
  void tickPaced(Nanos now);
  uint64_t allowedBy(const Client& client, Nanos now) const;
  void resume(Nanos now);
  void noteSilence(Nanos now);

  SwarmOptions options_;
  EpollLoop loop_;
  std::vector<Client> clients_;
  uint64_t made_ = 0;  // clients, those that were renewed counted again
  bool draining_ = false;
  const std::atomic<bool>* going_ = nullptr;
  Nanos lastTick_ = 0;
  Nanos lastPaceTick_ = 0;
  std::size_t paceTurn_ = 0;
  Nanos longestPause_ = 0;
};

}  // namespace ppx::load
