// Each mode once against the echo server: that it counts what happened. Speed is scripts/bench's matter.
#include "tests/load/loads.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <thread>

#include "tests/load/echo_server_thread.h"

namespace ppx::load {
namespace {

LoadOptions quick(const EchoServerThread& server, std::size_t connections) {
  return {.target = server.endpoint(), .connections = connections, .duration = 200 * kMillisecond};
}

TEST(Loads, EchoCountsWholeMessagesAndFailsNone) {
  const EchoServerThread server;
  const auto result = runEcho(quick(server, 10), 16);
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_GT(result.value().done, 100u);
  EXPECT_EQ(result.value().failed, 0u) << result.value().firstProblem;
  EXPECT_GE(result.value().elapsed, 200 * kMillisecond);
}

TEST(Loads, PacedSendsExactlyItsRate) {
  const EchoServerThread server;
  const auto result = runPaced(quick(server, 7), 1000);
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_EQ(result.value().done, 200u);
  EXPECT_EQ(result.value().latency.count(), 200u);
  EXPECT_EQ(result.value().failed, 0u);
}

TEST(Loads, ConnectCompletesOneAfterAnother) {
  const EchoServerThread server;
  LoadOptions options = quick(server, 8);
  options.sources = 20;
  const auto result = runConnect(options);
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_GT(result.value().done, 20u);
  EXPECT_EQ(result.value().failed, 0u) << result.value().firstProblem;
}

TEST(Loads, IdleTellsWhenAllAreServedAndHoldsThem) {
  const EchoServerThread server;
  const UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  std::size_t opened = 0;
  const auto result = runIdle(quick(server, 600), stop.get(), [&](std::size_t open) {
    opened = open;
    ::eventfd_write(stop.get(), 1);
  });
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_EQ(opened, 600u);
  EXPECT_EQ(result.value().failed, 0u);
}

TEST(Loads, ARefusedConnectionIsAFailure) {
  UniqueFd listener = std::move(listenOn({}).value());
  LoadOptions options{.target = {"127.0.0.1", portOf(listener.get()).value()}, .connections = 2};
  listener.reset();
  const auto result = runEcho(options, 1);
  ASSERT_TRUE(result);
  EXPECT_EQ(result.value().failed, 2u);
}

}  // namespace
}  // namespace ppx::load
