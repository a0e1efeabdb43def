// A session with a mailbox, its owner and two who push.
#pragma once

#include <string>

#include "common/mail_outbox.h"
#include "common/mail_pusher.h"
#include "tests/common/table_testing.h"

namespace ppx::testing {

class Mailbox : public ::testing::Test {
 protected:
  Table table_ = smallTable();
  Journal journal_{table_, kForwarder};
  Journal otherJournal_{table_, kOtherForwarder};
  SessionTable sessions_{table_};
  SlotRef ref_ = owned(table_);
  MailOutbox outbox_;

  void SetUp() override { outbox_.attach(table_, ref_); }
  // A forwarder dies; another process takes its row and the session.
  MailOutbox takeOver(uint64_t sent, uint64_t* acknowledged = nullptr) {
    WorkerId next{kForwarder.row, static_cast<uint32_t>(++incarnation_)};
    table_.worker(kForwarder.row).incarnation.store(next.incarnation);
    EXPECT_TRUE(sessions_.reclaim(ref_, owner_, next));
    owner_ = next;
    MailOutbox successor;
    successor.attach(table_, ref_, acknowledged);
    successor.setSent(table_, journal_, sent);
    return successor;
  }
  uint32_t freeOut() { return journal_.freeCount(SegmentKind::kOut); }

  WorkerId owner_ = kForwarder;
  uint64_t incarnation_ = 100;
};

inline std::string pattern(size_t bytes, char first) {
  std::string out(bytes, ' ');
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(first + i % 61);
  return out;
}

}  // namespace ppx::testing
