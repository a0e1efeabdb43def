// A small table and what the tests of common/ do with it over and over.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "common/journal.h"
#include "common/mail_outbox.h"
#include "common/mail_pusher.h"
#include "common/session_table.h"

namespace ppx::testing {

inline constexpr TableSizes kSmall{
    .sessionSlots = 70, .inSegments = 128, .outSegments = 256, .upstreamSlots = 4};
inline constexpr WorkerId kAcceptor{kFirstAcceptorRow, 1};
inline constexpr WorkerId kForwarder{0, 2};
inline constexpr WorkerId kOtherForwarder{1, 3};

// A table in which the three workers above are alive.
inline Table smallTable(const TableSizes& sizes = kSmall) {
  auto table = Table::create(sizes);
  EXPECT_TRUE(table.ok()) << (table ? "" : table.error().text);
  for (const WorkerId& worker : {kAcceptor, kForwarder, kOtherForwarder})
    table->worker(worker.row).incarnation.store(worker.incarnation);
  return std::move(*table);
}

inline SlotRef claimed(const Table& table) {
  SessionTable sessions(table);
  RandomSource random;
  auto ref = sessions.claim(kAcceptor, 0);
  EXPECT_TRUE(ref.has_value());
  sessions.fill(*ref, {}, random);
  return *ref;
}

inline SlotRef owned(const Table& table, const WorkerId& owner = kForwarder) {
  SessionTable sessions(table);
  SlotRef ref = claimed(table);
  EXPECT_TRUE(sessions.handoff(ref, kAcceptor, owner.row));
  EXPECT_TRUE(sessions.own(ref, owner));
  return ref;
}

inline PushResult push(const Table& table, Journal& journal, SlotRef ref, std::string_view text) {
  iovec piece{const_cast<char*>(text.data()), text.size()};
  return MailPusher(table, journal).push(ref, {&piece, 1});
}

// All that gather() shows, with `limit` pieces a call at most.
inline std::string gathered(const Table& table, const MailOutbox& outbox, size_t limit = 64) {
  std::vector<iovec> pieces(limit);
  size_t count = outbox.gather(table, pieces.data(), limit);
  std::string out;
  for (size_t i = 0; i < count; ++i) out.append(static_cast<char*>(pieces[i].iov_base), pieces[i].iov_len);
  return out;
}

// Ends an owned session and frees all it held.
inline void end(const Table& table, Journal& journal, SlotRef ref, const WorkerId& owner) {
  SessionTable sessions(table);
  ASSERT_TRUE(sessions.beginClosing(ref, owner, CloseReason::kAdmin));
  MailOutbox outbox;
  outbox.attach(table, ref);
  outbox.discard(table, journal);
  ASSERT_TRUE(sessions.release(ref, owner));
}

inline uint64_t environmentNumber(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace ppx::testing
