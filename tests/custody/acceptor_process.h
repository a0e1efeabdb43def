// The acceptor as a process, between a fake supervisor, fake forwarders and a real custodian in the test's process.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/limits.h"
#include "supervisor/custodian/custodian.h"
#include "tests/custody/fake_gateway.h"

namespace ppx::test {

class AcceptorProcess : public ::testing::Test {
 protected:
  static constexpr WorkerId kSelf{kFirstAcceptorRow, 41};

  AcceptorProcess() : supervisor(io, dir.path(), 4000) {
    raiseDescriptorLimit();
    for (uint8_t row = 0; row < 2; ++row)
      forwarders.push_back(
          std::make_unique<FakeForwarder>(io, dir.path(), supervisor.table(), WorkerId{row, 50u + row}));
  }
  void startCustodian(uint64_t descriptorLimit = 15000) {
    custodian.emplace(io, dir.path(), descriptorLimit, [](size_t) {});
    ASSERT_TRUE(custodian->listen());
  }
  void startAcceptor(const std::string& failpoints = "", unsigned descriptorLimit = 0) {
    acceptor = Child::start("paradox-acceptor",
                            {"--runtime-dir", dir.path(), "--row", std::to_string(kSelf.row), "--incarnation",
                             std::to_string(kSelf.incarnation)},
                            failpoints, descriptorLimit);
    ASSERT_TRUE(runUntil(io, [&] { return supervisor.ready(); }));
  }
  void startAll(const std::string& failpoints = "", unsigned descriptorLimit = 0) {
    startCustodian();
    for (uint8_t row = 0; row < 2; ++row) supervisor.setForwarderReady(row, true);
    startAcceptor(failpoints, descriptorLimit);
  }
  void connect(size_t count, uint8_t from = 1) {
    for (size_t i = 0; i < count; ++i) clients.push_back(connectClient(supervisor.port(), from));
  }
  // It finds them all at once, so that its turns are full.
  void connectAtOnce(size_t count) {
    acceptor.signal(SIGSTOP);
    ASSERT_EQ(::waitpid(acceptor.pid(), nullptr, WUNTRACED), acceptor.pid());
    connect(count);
    ASSERT_TRUE(runUntil(io, [&] { return supervisor.backlog() == count; }));
    acceptor.signal(SIGCONT);
  }
  size_t handed() const { return forwarders[0]->sessions.size() + forwarders[1]->sessions.size(); }
  WorkerRow& figures() { return supervisor.table().worker(kSelf.row); }
  uint64_t closed(CloseReason reason) { return figures().closed[static_cast<size_t>(reason)]; }
  size_t slotsIn(SlotState state) {
    SessionTable sessions(supervisor.table());
    size_t count = 0;
    for (uint32_t slot = 0; slot < supervisor.table().sizes().sessionSlots; ++slot)
      count += sessions.word(slot).state == state ? 1 : 0;
    return count;
  }
  // Everything that was posted by now has had its turn, and nothing more comes of it.
  void settle() {
    runUntil(
        io, [] { return false; }, std::chrono::milliseconds(150));
  }

  boost::asio::io_context io;
  TempDir dir;
  FakeSupervisor supervisor;
  std::vector<std::unique_ptr<FakeForwarder>> forwarders;
  std::optional<Custodian> custodian;
  Child acceptor;
  std::vector<UniqueFd> clients;
};

}  // namespace ppx::test
