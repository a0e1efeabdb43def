// The custodian as a process, spoken to in its own protocol.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/custody/custodian_peer.h"
#include "tests/custody/fake_gateway.h"
#include "tests/custody/support.h"

namespace ppx::test {

inline constexpr WorkerId kAcceptor{kFirstAcceptorRow, 11};
inline constexpr WorkerId kForwarder{0, 12};

class CustodianProcess : public ::testing::Test {
 protected:
  void start(unsigned descriptorLimit = 0) {
    custodian = Child::start(
        "paradox-custodian",
        {"--runtime-dir", dir.path(), "--row", std::to_string(kCustodianRow), "--incarnation", "5"}, "",
        descriptorLimit);
  }
  Received fetch(CustodianPeer& peer, std::span<const custody::Record> records, WorkerId after = {}) {
    auto answer = peer.ask(custody::Message(custody::Type::kFetch, records, after));
    EXPECT_TRUE(answer.has_value());
    return answer ? std::move(*answer) : Received{};
  }

  TempDir dir;
  Child custodian;
};

}  // namespace ppx::test
