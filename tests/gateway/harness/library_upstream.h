// An upstream inside the test process that uses the C++ library, and writes down what it is told. An echo unless told
// otherwise.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>

#include "tests/gateway/harness/deadline.h"
#include "upstream/cpp/upstream.h"

namespace ppx::test {

class LibraryUpstream : public paradox::upstream::Handler {
 public:
  struct Told {
    int opened = 0, ended = 0, closed = 0;
    paradox::upstream::Opened how;
    std::string bytes, reason;
    uint64_t firstOffset = 0;
  };
  using BytesHook = std::function<bool(const std::string& client, std::string_view bytes)>;

  explicit LibraryUpstream(uint16_t port = 0, paradox::upstream::Options options = {});
  ~LibraryUpstream() override;

  uint16_t port() const { return static_cast<uint16_t>(port_); }
  paradox::upstream::Upstream& upstream() { return *upstream_; }
  void onBytes(BytesHook hook);  // before clients come
  void stop();
  void breakStreams();  // its server goes and comes again on the same port; the library's memory stays

  std::map<std::string, Told> told() const;
  // Until it holds for some client; that client's name.
  std::string waitFor(const std::string& what, const std::function<bool(const Told&)>& holds);

 private:
  void onOpened(const std::string& client, const paradox::upstream::Opened& how) override;
  bool onBytes(const std::string& client, std::string_view bytes, uint64_t offset) override;
  void onEnd(const std::string& client) override;
  void onClosed(const std::string& client, const std::string& reason) override;
  void listen(uint16_t port);
  void note(const std::string& client, const std::function<void(Told&)>& change);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Told> told_;
  BytesHook hook_;
  std::unique_ptr<paradox::upstream::Upstream> upstream_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace ppx::test
