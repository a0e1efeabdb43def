#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "tests/prober/prober_bed.h"
#include "tests/prober/scripted_upstream.h"

namespace ppx::test {
namespace {

using H = UpstreamHealth;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr UpstreamTimes kQuick{400, 300};
constexpr UpstreamTimes kPatient{3000, 3000};  // a late answer is none that is missing

TEST(Prober, FindsAReadyUpstreamReadyAndTellsEverybody) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  uint64_t epoch = bed.table().header().upstreamEpoch.load();
  uint32_t generation = bed.add(3, ownLoopback(), upstream.port());
  ASSERT_TRUE(bed.waitHealth(3, H::kReady));
  EXPECT_EQ(lifeGeneration(bed.row(3).health.load()), generation);
  EXPECT_EQ(bed.table().header().upstreamEpoch.load(), epoch + 2);  // the test's and the prober's
  EXPECT_GT(bed.row(3).lastReadyMs.load(), 0u);
  uint64_t rings = 0;
  EXPECT_EQ(::read(bed.doorbells().descriptor(kFirstForwarderRow), &rings, sizeof(rings)), 8);
  EXPECT_EQ(rings, 2u);
}

TEST(Prober, AsksOnTheLiveStreamAllTheTime) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), kPatient);
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveAsked >= 3; }));
  EXPECT_EQ(upstream.counts().liveOpened, 1);
  EXPECT_EQ(upstream.counts().readyAsked, 1);
  EXPECT_GT(bed.row(0).lastLiveMs.load(), bed.row(0).lastReadyMs.load());
  EXPECT_EQ(bed.health(0), H::kReady);
}

TEST(Prober, AnUpstreamThatSaysNoIsAskedUntilItSaysYes) {
  ScriptedUpstream upstream({Script::Ready::kNo});
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port());
  ASSERT_TRUE(bed.waitHealth(0, H::kNotReady));
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.readyAsked >= 3; }));
  EXPECT_EQ(bed.health(0), H::kNotReady);
  EXPECT_GE(bed.row(0).readyFailures.load(), 2u);
  upstream.setScript({});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  EXPECT_EQ(bed.row(0).readyFailures.load(), 0u);
  EXPECT_EQ(bed.row(0).timesDown.load(), 0u);
}

TEST(Prober, AHangingReadyEndsAtItsTimeout) {
  ScriptedUpstream upstream({Script::Ready::kHang});
  ProberBed bed;
  bed.startProber();
  Millis begin = monotonicMillis();
  bed.add(0, ownLoopback(), upstream.port(), kQuick);
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  EXPECT_GE(monotonicMillis() - begin, 290);
  upstream.setScript({});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
}

TEST(Prober, AFailingReadyAndARefusedConnectionAreDownAtOnce) {
  ScriptedUpstream failing({Script::Ready::kFail});
  uint32_t closedPort = 0;
  {
    ScriptedUpstream shortLived;
    closedPort = shortLived.port();
  }
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), failing.port(), {60'000, 60'000});
  bed.add(1, ownLoopback(), closedPort, {60'000, 60'000});
  EXPECT_TRUE(bed.waitHealth(0, H::kDown));
  EXPECT_TRUE(bed.waitHealth(1, H::kDown));
  EXPECT_EQ(bed.row(0).timesDown.load(), 0u);  // it was never up
}

TEST(Prober, FindsAnUpstreamThatStartsToListenLater) {
  uint32_t port = 0;
  {
    ScriptedUpstream shortLived;
    port = shortLived.port();
  }
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), port);
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  ScriptedUpstream upstream(ownLoopback() + ":" + std::to_string(port));
  EXPECT_TRUE(bed.waitHealth(0, H::kReady));
}

TEST(Prober, LiveAnsweredWithNoTakesItOutAndItStaysOut) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), kQuick);
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  upstream.setScript({Script::Ready::kYes, Script::Live::kNo});
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  int changes = bed.changes();
  int opened = upstream.counts().liveOpened;
  // It says ready all the while, which is not enough for one that was down.
  ASSERT_TRUE(upstream.waitFor([&](const Counts& c) { return c.liveOpened >= opened + 2; }));
  EXPECT_EQ(bed.changes(), changes);
  upstream.setScript({});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  EXPECT_EQ(bed.row(0).timesDown.load(), 1u);
}

TEST(Prober, ASilentLiveStreamTakesItOutWithinAliveTimeout) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), kQuick);
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveAsked >= 2; }));
  upstream.setScript({Script::Ready::kYes, Script::Live::kSilent});
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  EXPECT_GE(monotonicMillis() - static_cast<Millis>(bed.row(0).lastLiveMs.load()), 399);
  // Its stream was cancelled, not left behind.
  EXPECT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveNow <= 1; }));
}

TEST(Prober, ALiveStreamThatTheUpstreamEndsIsOpenedAgainWithoutAChangeOfHealth) {
  ScriptedUpstream upstream({Script::Ready::kYes, Script::Live::kAnswerAndEnd});
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port());
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  int changes = bed.changes();
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveOpened >= 5; }));
  EXPECT_EQ(bed.changes(), changes);
  EXPECT_EQ(bed.health(0), H::kReady);
}

TEST(Prober, ALiveStreamThatAlwaysEndsWithoutAnAnswerIsNoLife) {
  ScriptedUpstream upstream({Script::Ready::kYes, Script::Live::kEndAtOnce});
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port());
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
}

TEST(Prober, WithoutALiveMethodReadyIsPolled) {
  ScriptedUpstream upstream({Script::Ready::kYes, Script::Live::kUnimplemented});
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), {1500, 1500});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.readyAsked >= 3; }));
  EXPECT_EQ(upstream.counts().liveOpened, 1);
  EXPECT_EQ(bed.health(0), H::kReady);
  upstream.setScript({Script::Ready::kHang, Script::Live::kUnimplemented});
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  upstream.setScript({Script::Ready::kYes, Script::Live::kUnimplemented});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
}

TEST(Prober, ReachesIpv6NamesAndUnixSockets) {
  std::string directory = std::filesystem::temp_directory_path() / "ppx-prober-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  std::string path = "unix:" + directory + "/upstream.sock";
  ProberBed bed;
  bed.startProber();
  ScriptedUpstream byPath(path), byName("127.0.0.1:0");
  bed.add(1, path, 0);
  if (byName.port() != 0) {  // every port of 127.0.0.1 may be taken for a while
    bed.add(0, "localhost", byName.port());
    EXPECT_TRUE(bed.waitHealth(0, H::kReady));
  }
  EXPECT_TRUE(bed.waitHealth(1, H::kReady));
  ScriptedUpstream six("[::1]:0");
  if (six.port() != 0) {  // a host may have no IPv6
    bed.add(2, "::1", six.port());
    EXPECT_TRUE(bed.waitHealth(2, H::kReady));
  }
  bed.stopProber();
  ::unlink(path.c_str() + 5);
  ::rmdir(directory.c_str());
}

TEST(Prober, ARemovedUpstreamIsLeftAlone) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port());
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveNow == 1; }));
  bed.remove(0);
  EXPECT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveNow == 0; }));
}

TEST(Prober, AReplacedRowIsProbedAsItsNewTenantOnly) {
  ScriptedUpstream first, second, hanging({Script::Ready::kHang});
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), first.port());
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  bed.remove(0);
  bed.add(0, ownLoopback(), hanging.port(), {60'000, 60'000});  // at once: the prober may see only this
  ASSERT_TRUE(hanging.waitFor([](const Counts& c) { return c.readyAsked == 1; }));
  EXPECT_EQ(bed.health(0), H::kProbing);
  EXPECT_TRUE(first.waitFor([](const Counts& c) { return c.liveNow == 0; }));
  bed.remove(0);
  uint32_t generation = bed.add(0, ownLoopback(), second.port());
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  EXPECT_EQ(bed.row(0).health.load(), lifeWord(generation, static_cast<uint8_t>(H::kReady)));
}

TEST(Prober, ADrainingUpstreamIsStillWatchedButNeverComesBack) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), kQuick);
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  bed.drain(0);
  upstream.setScript({Script::Ready::kYes, Script::Live::kSilent});
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  int asked = upstream.counts().liveAsked;
  upstream.setScript({});
  ASSERT_TRUE(upstream.waitFor([&](const Counts& c) { return c.liveAsked >= asked + 5; }));
  EXPECT_EQ(bed.health(0), H::kDown);
  EXPECT_EQ(lifeState<UpstreamLife>(bed.row(0).life.load()), UpstreamLife::kDraining);
}

TEST(Prober, StreamsThatFailMakeItAskAgainAtOnce) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  uint32_t generation = bed.add(0, ownLoopback(), upstream.port(), {60'000, 2000});
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveAsked == 1; }));
  // The first answer moves it from proving to ready; a second question is 5 s away, so wait for the record.
  upstream.setScript({Script::Ready::kNo, Script::Live::kYes});
  bed.row(0).streams[7] = lifeWord(generation, static_cast<uint8_t>(StreamState::kFailing));
  bed.row(0).streamFailures[7] = 2;
  bed.doorbells().ring(kProberRow);
  bed.row(0).streamFailures[7] = 3;
  bed.doorbells().ring(kProberRow);
  EXPECT_TRUE(bed.waitHealth(0, H::kNotReady));
}

TEST(Prober, FailuresOfARowsFormerTenantDoNotCount) {
  ScriptedUpstream upstream;
  ProberBed bed;
  bed.startProber();
  uint32_t generation = bed.add(0, ownLoopback(), upstream.port(), kPatient);
  bed.row(0).streams[0] = lifeWord(generation - 1, static_cast<uint8_t>(StreamState::kFailing));
  bed.row(0).streamFailures[0] = 9;
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  bed.doorbells().ring(kProberRow);
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveAsked >= 2; }));
  EXPECT_EQ(upstream.counts().readyAsked, 1);
}

TEST(Prober, ASuccessorLeavesWhatIsReadyReadyAndVerifiesIt) {
  ScriptedUpstream upstream, leaving;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), {60'000, 60'000});
  bed.add(1, ownLoopback(), leaving.port());
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  ASSERT_TRUE(bed.waitHealth(1, H::kReady));
  bed.stopProber();
  EXPECT_EQ(bed.health(0), H::kReady);
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveNow == 0; }));
  leaving.setScript({Script::Ready::kNo});
  upstream.setScript({Script::Ready::kHang});
  int asked = upstream.counts().readyAsked;
  bed.startProber();
  ASSERT_TRUE(upstream.waitFor([&](const Counts& c) { return c.readyAsked > asked; }));
  EXPECT_EQ(bed.health(0), H::kReady);  // no answer yet: the last state stands
  EXPECT_TRUE(bed.waitHealth(1, H::kNotReady));
  EXPECT_EQ(bed.row(0).timesDown.load(), 0u);
}

TEST(Prober, ProbesTwoHundredAtOnce) {
  constexpr uint32_t kMany = 200;
  ScriptedUpstream upstream;
  ProberBed bed(256);
  bed.startProber();
  for (uint32_t i = 0; i < kMany; ++i) bed.add(i, ownLoopback(), upstream.port(), {6000, 10'000});
  ASSERT_TRUE(bed.waitFor([&] {
    for (uint32_t i = 0; i < kMany; ++i)
      if (bed.health(i) != H::kReady) return false;
    return true;
  }));
  ASSERT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveNow == 200 && c.liveAsked >= 400; }));
  for (uint32_t i = 0; i < kMany; ++i) EXPECT_EQ(bed.row(i).timesDown.load(), 0u) << i;
  for (uint32_t i = 0; i < kMany; i += 2) bed.remove(i);
  EXPECT_TRUE(upstream.waitFor([](const Counts& c) { return c.liveNow == 100; }));
}

}  // namespace
}  // namespace ppx::test
