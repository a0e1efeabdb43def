// Planned restarts under verified load.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>

#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {

unsigned fromEnvironment(const char* name, unsigned otherwise);

// Clients go on sending and checking while `work` runs on this thread.
template <typename Clients, typename Work>
void whileTalking(Clients& clients, Work work) {
  std::atomic<bool> over{false};
  auto load = std::async(std::launch::async, [&] {
    while (!over) clients.runFor(10 * load::kMillisecond);
  });
  struct AtEnd {
    std::atomic<bool>& flag;
    ~AtEnd() { flag = true; }
  } stop{over};
  work();
}

std::unique_ptr<load::DuplexSwarm> talkers(const Gateway& gateway, load::SwarmOptions options);

// Starts an operation and waits until it is over; its last state. Throws if it is not accepted. In an upgrade the admin
// API changes hands meanwhile.
Json operate(const Gateway& gateway, const std::string& path, const Json& body = nullptr);

// The events of one type that the gateway has had so far.
std::vector<Json> events(const Gateway& gateway, const std::string& type);

// Every client is open, and every byte has come back.
void expectAllWell(load::DuplexSwarm& clients);

// Each session is owned by one forwarder, which holds as many descriptors of clients as the table says it owns, the
// custodian one of each, and nobody else any (/proc/PID/fd of all). `wanted`: that there are so many.
void expectDescriptorsAccountedFor(const Gateway& gateway, std::optional<size_t> wanted = std::nullopt);

}  // namespace ppx::test
