// Accepts connections and waits, on one thread, for each one's request head; whole ones are handed on. So
// peers that send nothing, or slowly, hold no thread. When too many wait, the one that has waited longest
// goes.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "common/result.h"
#include "supervisor/admin/http_connection.h"

namespace ppx {

class RequestGatherer {
 public:
  using Handler = std::function<void(std::unique_ptr<HttpConnection>)>;
  // Called on the gatherer's thread; must not block.
  struct Handlers {
    Handler whole, tooLarge, tooSlow;
  };
  static constexpr size_t kMaxWaiting = 256;

  RequestGatherer() = default;
  ~RequestGatherer() { stop(); }

  // Of a listening socket that does not block. `tls` outlives it.
  void start(UniqueFd listener, SSL_CTX* tls, int stopBell, Handlers handlers);
  // After the stop bell was rung.
  void stop();

 private:
  void run();
  void wait();
  void acceptSome();
  void advance(size_t index);
  void expire();
  std::unique_ptr<HttpConnection> take(size_t index);

  UniqueFd listener_;
  SSL_CTX* tls_ = nullptr;
  int stopBell_ = -1;
  Handlers handlers_;
  std::vector<std::unique_ptr<HttpConnection>> waiting_;  // oldest first
  Millis acceptAgainAt_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace ppx
