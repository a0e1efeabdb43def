// What a worker has sent to the custodian before it was killed is in custody, whatever became of its channel.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "common/custody_message.h"
#include "tests/custody/custodian_process.h"

namespace ppx {
namespace {

using custody::Message;
using custody::Record;
using custody::Type;
using test::CustodianProcess;
using test::kAcceptor;
using test::kForwarder;
using Peer = test::CustodianPeer;
using test::marked;
using test::readMark;
using test::sessionRecord;

// Sends `batches` of 20 sessions and is killed. `first` of them are answered before, and the answers never
// read.
class KilledSender {
 public:
  static constexpr uint32_t kBatch = 20;

  KilledSender(const std::string& runtimeDir, uint32_t first, uint32_t batches) {
    int go[2], at[2];
    if (::pipe(go) != 0 || ::pipe(at) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      Peer peer(runtimeDir, kAcceptor);
      sendBatches(peer, 0, first);
      if (first != 0) peer.await(POLLIN);
      report(at[1]);
      wait(go[0]);
      sendBatches(peer, first, batches);
      report(at[1]);
      wait(go[0]);  // for SIGKILL
      ::_exit(1);
    }
    go_.reset(go[1]), at_.reset(at[0]);
    ::close(go[0]), ::close(at[1]);
  }
  ~KilledSender() { kill(); }
  void awaitStep() { wait(at_.get()); }
  void goOn() { report(go_.get()); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  static void sendBatches(Peer& peer, uint32_t from, uint32_t to) {
    for (uint32_t batch = from; batch < to; ++batch) {
      std::vector<Record> records;
      std::vector<int> sockets;
      UniqueFd one = marked(batch);
      for (uint32_t i = 0; i < kBatch; ++i) {
        records.push_back(sessionRecord(batch * kBatch + i, 1));
        sockets.push_back(one.get());
      }
      if (!peer.put(records, sockets)) ::_exit(2);
    }
  }
  static void report(int pipe) { [[maybe_unused]] ssize_t ignored = ::write(pipe, "x", 1); }
  static void wait(int pipe) {
    char byte = 0;
    [[maybe_unused]] ssize_t ignored = ::read(pipe, &byte, 1);
  }
  int pid_ = 0;
  UniqueFd go_, at_;
};

void expectAllBatches(Peer& forwarder, uint32_t batches) {
  for (uint32_t batch = 0; batch < batches; ++batch) {
    std::vector<Record> records;
    for (uint32_t i = 0; i < KilledSender::kBatch; ++i)
      records.push_back(sessionRecord(batch * KilledSender::kBatch + i, 1));
    ASSERT_TRUE(forwarder.send(Message(Type::kFetch, records, kAcceptor)));
  }
  for (uint32_t batch = 0; batch < batches; ++batch) {
    auto given = forwarder.receive();
    ASSERT_TRUE(given);
    ASSERT_EQ(given->message.head.type, Type::kGive) << "batch " << batch;
    ASSERT_EQ(given->descriptors.size(), KilledSender::kBatch);
    EXPECT_EQ(readMark(given->descriptors[0].get()), batch);
  }
}

// The hardest case: its channel was not even accepted when it died, and the fetch is older than the accept.
TEST_F(CustodianProcess, ReadsAKilledSendersChannelToItsEndBeforeItAnswers) {
  start();
  Peer forwarder(dir.path(), kForwarder);
  ASSERT_TRUE(forwarder.ask(Message(Type::kDrop, {})));
  custodian.signal(SIGSTOP);
  KilledSender sender(dir.path(), 0, 50);
  sender.awaitStep();
  sender.goOn();
  sender.awaitStep();
  sender.kill();
  custodian.signal(SIGCONT);
  expectAllBatches(forwarder, 50);
}

// With unread answers in its queue the kernel reports a reset before what it sent.
TEST_F(CustodianProcess, ReadsToTheEndBehindAReset) {
  start();
  Peer forwarder(dir.path(), kForwarder);
  KilledSender sender(dir.path(), 10, 50);
  sender.awaitStep();
  custodian.signal(SIGSTOP);
  sender.goOn();
  sender.awaitStep();
  sender.kill();
  ASSERT_TRUE(forwarder.send(Message(Type::kFetch, std::span<const Record>(), kAcceptor)));
  custodian.signal(SIGCONT);
  expectAllBatches(forwarder, 50);
}

}  // namespace
}  // namespace ppx
