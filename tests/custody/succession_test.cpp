// What a custodian hands on survives the writing and reading, and nothing that is damaged is taken.
#include "supervisor/custodian/succession.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/custody/support.h"

namespace ppx {
namespace {

using custody::Type;
using test::sessionRecord;

Succession sample() {
  Succession out;
  out.listener = 7;
  out.held.push_back({sessionRecord(3, 9), 8, 1, 12});
  out.held.push_back({sessionRecord(4, 0), 5, 1, -1});
  out.peers.push_back(
      {20, true, false, {1, 44}, {{Type::kGive, {sessionRecord(3, 9)}, 0}, {Type::kListed, {}, 77}}});
  out.peers.push_back({21, false, true, {}, {}});
  out.fetches.push_back({1, {sessionRecord(5, 2), sessionRecord(6, 1)}, {2, 45}});
  return out;
}

std::vector<std::byte> bytesOfFile(int memfd) {
  std::vector<std::byte> bytes(static_cast<size_t>(::lseek(memfd, 0, SEEK_END)));
  EXPECT_EQ(::pread(memfd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

Result<Succession> readFrom(std::span<const std::byte> bytes) {
  UniqueFd memfd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::write(memfd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return Succession::read(memfd.get());
}

TEST(Succession, IsReadAsItWasWritten) {
  auto memfd = sample().write();
  ASSERT_TRUE(memfd);
  auto read = Succession::read(memfd->get());
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->listener, 7);
  ASSERT_EQ(read->held.size(), 2u);
  EXPECT_EQ(read->held[0].record.slot, 3u);
  EXPECT_EQ(read->held[0].record.generation, 9u);
  EXPECT_EQ(read->held[0].descriptor, 12);
  EXPECT_EQ(read->held[1].dropped, 5u);
  EXPECT_EQ(read->held[1].descriptor, -1);
  ASSERT_EQ(read->peers.size(), 2u);
  EXPECT_TRUE(read->peers[0].introduced);
  EXPECT_EQ(read->peers[0].worker, (WorkerId{1, 44}));
  ASSERT_EQ(read->peers[0].answers.size(), 2u);
  EXPECT_EQ(read->peers[0].answers[0].records.at(0).slot, 3u);
  EXPECT_EQ(read->peers[0].answers[1].cursor, 77u);
  EXPECT_TRUE(read->peers[1].deaf);
  ASSERT_EQ(read->fetches.size(), 1u);
  EXPECT_EQ(read->fetches[0].after, (WorkerId{2, 45}));
  EXPECT_EQ(read->fetches[0].records.at(1).slot, 6u);
  std::vector<int> descriptors;
  read->forEachDescriptor([&](int each) { descriptors.push_back(each); });
  EXPECT_EQ(descriptors, (std::vector<int>{7, 20, 21, 12}));
}

TEST(Succession, IsTakenWholeOrNotAtAll) {
  auto memfd = sample().write();
  ASSERT_TRUE(memfd);
  auto bytes = bytesOfFile(memfd->get());
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(readFrom(std::span(bytes).first(length))) << length;
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(readFrom(bytes)) << "something behind the end";
}

TEST(Succession, OfAnotherVersionIsRefusedByName) {
  auto memfd = sample().write();
  ASSERT_TRUE(memfd);
  auto bytes = bytesOfFile(memfd->get());
  bytes[4] = std::byte{99};
  auto read = readFrom(bytes);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().text.find("version 99"), std::string::npos) << read.error().text;
}

// Counts and places are believed only within what is there.
TEST(Succession, WithAnyWordDamagedIsReadSafely) {
  auto memfd = sample().write();
  ASSERT_TRUE(memfd);
  const auto bytes = bytesOfFile(memfd->get());
  for (size_t at = 0; at < bytes.size(); ++at) {
    auto damaged = bytes;
    damaged[at] = std::byte{0xff};
    auto read = readFrom(damaged);
    if (!read) continue;
    for (const Succession::Fetch& fetch : read->fetches) EXPECT_LT(fetch.peer, read->peers.size());
  }
}

}  // namespace
}  // namespace ppx
