// What custody costs each new connection: connections a second with it, and with the acceptor's put left out. Figures, not
// limits: the machine decides. PPX_SECONDS: of each run.
#include <gtest/gtest.h>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/loads.h"

namespace ppx::test {
namespace {

double connectionsASecond(bool custody, double seconds) {
  EchoWorker worker;
  Gateway gateway({.upstreams = {worker.port()},
                   .maxSessions = 8192,
                   .environment = {{"PPX_FAILPOINTS", custody ? "" : "sys.put=errno:1"}}});
  gateway.waitForUpstream(worker.port());
  auto result = load::runConnect({.target = {"127.0.0.1", gateway.port()},
                                  .connections = 50,
                                  .duration = static_cast<load::Nanos>(seconds * 1e9),
                                  .sources = 100});
  if (!result) throw std::runtime_error(result.error().text);
  EXPECT_EQ(result->failed, 0u) << result->firstProblem;
  return result->perSecond();
}

TEST(CustodyCost, ConnectionsASecondWithItAndWithout) {
  const char* text = std::getenv("PPX_SECONDS");
  const double seconds = text == nullptr ? 1 : std::atof(text);
  double with = 0, without = 0;
  for (int i = 0; i < 3; ++i) {
    with = std::max(with, connectionsASecond(true, seconds));
    without = std::max(without, connectionsASecond(false, seconds));
  }
  std::printf("connections a second, best of 3: %.0f with custody, %.0f without (%.1f us each)\n", with,
              without, 1e6 / with - 1e6 / without);
  EXPECT_GT(with, 0);
  EXPECT_GT(without, 0);
}

}  // namespace
}  // namespace ppx::test
