#include "tests/load/clients.h"

namespace ppx::load {

Result<std::unique_ptr<Clients>> Clients::make(const LoadOptions& options) {
  const auto address = options.target.address();
  if (!address) {
    return address.error();
  }
  std::unique_ptr<Clients> clients(new Clients(options, address.value()));
  clients->links_.reserve(options.connections);
  return clients;
}

Status Clients::start(std::size_t index) {
  const auto source = options_.sources == 0 ? 0 : static_cast<unsigned>(1 + started_ % options_.sources);
  auto fd = startConnect(address_, source);
  if (!fd) {
    return fd.error();
  }
  loop_.watch(fd->get(), index);
  VerifiedConnection link(std::move(*fd), options_.seed + started_++);
  if (index == links_.size()) {
    links_.push_back(std::move(link));
  } else {
    links_[index] = std::move(link);
  }
  return Done{};
}

Status Clients::startAll() {
  for (std::size_t i = 0; i < options_.connections; ++i) {
    if (auto started = start(i); !started) {
      return started;
    }
  }
  return Done{};
}

void Clients::giveUp(std::size_t index, LoadResult& result) {
  VerifiedConnection& link = links_[index];
  ++result.failed;
  if (result.firstProblem.empty()) {
    result.firstProblem = link.problem().empty() ? "ended by the server" : link.problem();
  }
  link.close();
}

}  // namespace ppx::load
