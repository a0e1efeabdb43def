// One worker's channel at the custodian: reads what it asks, answers in order. A peer that does not read its
// answers is not read either, until it does; when it is dead its channel is read to the end all the same.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "common/custody_message.h"
#include "common/seqpacket.h"
#include "supervisor/custodian/custody_store.h"
#include "supervisor/custodian/succession.h"

namespace ppx {

class CustodyPeer : public std::enable_shared_from_this<CustodyPeer> {
 public:
  struct Handlers {
    // It asks for descriptors; to be answered by answerFetch, sooner or later.
    std::function<void(CustodyPeer&, std::vector<custody::Record>, WorkerId after)> fetch;
    // The store may have changed.
    std::function<void()> changed;
    // Its channel was read to the end, or it sent garbage. Called once.
    std::function<void(CustodyPeer&)> ended;
  };

  CustodyPeer(boost::asio::io_context& io, UniqueFd socket, CustodyStore& store, Handlers handlers);
  // Goes on with a channel where the program before this one was. Its fetches come by adoptFetch.
  CustodyPeer(boost::asio::io_context& io, const Succession::Peer& before, CustodyStore& store,
              Handlers handlers);
  void adoptFetch() { ++openFetches_; }
  Succession::Peer handOn();

  void start();
  void close();
  // Reads what has come by now, up to a bound; the same as when the loop finds it readable.
  void receive();
  // Sends those that are held when their turn comes, and names the others missing.
  void answerFetch(std::vector<custody::Record> records);

  bool introduced() const { return introduced_; }
  const WorkerId& worker() const { return worker_; }

 private:
  using Answer = Succession::Answer;
  enum class Sent { kDone, kMore, kLater };

  void waitReadable();
  void waitWritable();
  void waitAWhile();
  bool dispatch(ReceivedMessage message);
  bool onPut(std::vector<UniqueFd> descriptors, bool lost);
  void onDrop();
  bool onFetch();
  void answer(custody::Type type);  // the incoming records again, under another type
  void flush();
  Sent sendAnswer(Answer& answer);
  Sent sendGive(Answer& answer);
  Sent sendListed(Answer& answer);
  Sent send(const custody::Message& message, std::span<const int> descriptors = {});
  void end(const char* complaint);

  boost::asio::posix::stream_descriptor channel_;
  boost::asio::steady_timer retry_;
  CustodyStore& store_;
  Handlers handlers_;
  WorkerId worker_;
  custody::Message incoming_;
  std::deque<Answer> answers_;
  size_t openFetches_ = 0;
  bool introduced_ = false;
  bool ended_ = false;
  bool deaf_ = false;  // it takes no answers any more: dead, but not yet read to the end
  bool readPaused_ = false;
  bool readWaiting_ = false;
  bool writeWaiting_ = false;
};

}  // namespace ppx
