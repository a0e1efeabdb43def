#include "supervisor/ctl/table_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "common/lane_row.h"
#include "common/mail_pusher.h"
#include "common/session_table.h"

namespace ppx {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string dumpOf(const Table& table) {
  std::ostringstream out;
  dumpTable(table, out);
  return out.str();
}

TEST(TableDump, ShowsEachSessionItsOwnerAndWhatItHolds) {
  Table table =
      std::move(*Table::create({.sessionSlots = 8, .inSegments = 8, .outSegments = 8, .upstreamSlots = 2}));
  EXPECT_THAT(dumpOf(table), Not(HasSubstr("slot 0")));

  SessionTable sessions(table);
  RandomSource random;
  WorkerId acceptor{kFirstAcceptorRow, 7}, forwarder{3, 9};
  SlotRef ref = *sessions.claim(acceptor, 0);
  Uuid uuid = sessions.fill(ref, {}, random);
  ASSERT_TRUE(sessions.handoff(ref, acceptor, 3));
  ASSERT_TRUE(sessions.own(ref, forwarder));
  Journal journal(table, forwarder);
  std::string mail(1000, 'm');
  iovec piece{mail.data(), mail.size()};
  ASSERT_EQ(MailPusher(table, journal).push(ref, {&piece, 1}), PushResult::kPushed);

  std::string dump = dumpOf(table);
  EXPECT_THAT(dump, HasSubstr("slot 0 generation 0 owned worker 3 incarnation 9 " + uuidText(uuid)));
  EXPECT_THAT(dump, HasSubstr("segments 2 flags"));
  EXPECT_THAT(dump, HasSubstr("segments in 0 mail 2 out 0"));
  EXPECT_THAT(dump, Not(HasSubstr("mmmm"))) << "clients' bytes are not shown";
}

TEST(TableDump, ShowsUpstreamsWithTheirStreams) {
  Table table =
      std::move(*Table::create({.sessionSlots = 8, .inSegments = 8, .outSegments = 8, .upstreamSlots = 2}));
  UpstreamSlot& upstream = table.upstream(1);
  std::snprintf(upstream.host, sizeof(upstream.host), "10.0.0.7");
  upstream.port.store(45888);
  upstream.life.store(lifeWord(4, static_cast<uint8_t>(UpstreamLife::kDraining)));
  upstream.health.store(lifeWord(4, static_cast<uint8_t>(UpstreamHealth::kReady)));
  upstream.streams[2].store(lifeWord(4, static_cast<uint8_t>(StreamState::kDraining)));
  EXPECT_THAT(dumpOf(table), HasSubstr("upstream 1 life 4:draining health 4:ready 10.0.0.7:45888"));
  EXPECT_THAT(dumpOf(table), HasSubstr(" 2=4:draining"));
}

TEST(TableDump, ShowsHowFarLanesHaveComeAndWhoHasThem) {
  Table table =
      std::move(*Table::create({.sessionSlots = 8, .inSegments = 8, .outSegments = 8, .upstreamSlots = 2}));
  EXPECT_THAT(dumpOf(table), Not(HasSubstr("lane")));
  LaneRow& lane = table.lane(laneIndex(1, 3));
  lane.instance.store(0xabc);
  lane.pushed.store(17);
  EXPECT_THAT(dumpOf(table), HasSubstr("upstream 1 row 3 instance 0000000000000abc pushed 17 owner none"));
  lane.owner.store(laneOwner(3, 9));
  EXPECT_THAT(dumpOf(table), HasSubstr("pushed 17 owner 3:9"));
}

}  // namespace
}  // namespace ppx
