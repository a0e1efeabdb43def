#include "forwarder/upstream_target.h"

#include <gtest/gtest.h>

namespace ppx {
namespace {

TEST(UpstreamTarget, NamesAndAddressesGoThroughTheResolver) {
  EXPECT_EQ(upstreamTarget("127.0.0.1", 45888), "dns:///127.0.0.1:45888");
  EXPECT_EQ(upstreamTarget("worker.example", 1), "dns:///worker.example:1");
}

TEST(UpstreamTarget, Ipv6AddressesGetBracketsOnce) {
  EXPECT_EQ(upstreamTarget("::1", 7), "dns:///[::1]:7");
  EXPECT_EQ(upstreamTarget("[::1]", 7), "dns:///[::1]:7");
  EXPECT_EQ(upstreamTarget("fe80::1%eth0", 7), "dns:///[fe80::1%25eth0]:7");
  EXPECT_EQ(upstreamLabel("fe80::1%eth0", 7), "[fe80::1%eth0]:7");
}

TEST(UpstreamTarget, PathsHaveNoPort) {
  EXPECT_EQ(upstreamTarget("unix:/run/worker.sock", 9), "unix:/run/worker.sock");
}

}  // namespace
}  // namespace ppx
