// A number of verified connections to one server on one epoll; event tags are their indexes.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "common/result.h"
#include "tests/load/epoll_loop.h"
#include "tests/load/loads.h"
#include "tests/load/verified_connection.h"

namespace ppx::load {

class Clients {
 public:
  static Result<std::unique_ptr<Clients>> make(const LoadOptions& options);

  // Begins one more connection, in place `index` (or a new one: index == size()).
  Status start(std::size_t index);
  Status startAll();

  std::size_t size() const { return links_.size(); }
  VerifiedConnection& operator[](std::size_t index) { return links_[index]; }
  std::span<const epoll_event> wait(Nanos deadline) { return loop_.wait(deadline); }
  EpollLoop& loop() { return loop_; }

  // Counts a connection that is over, with its reason, and closes it.
  void giveUp(std::size_t index, LoadResult& result);

 private:
  Clients(const LoadOptions& options, const sockaddr_in& address) : options_(options), address_(address) {}

  LoadOptions options_;
  sockaddr_in address_;
  EpollLoop loop_;
  std::vector<VerifiedConnection> links_;
  uint64_t started_ = 0;  // each gets a seed and, in turn, a source address of its own
};

}  // namespace ppx::load
