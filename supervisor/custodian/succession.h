// What a custodian leaves to the program that replaces it in its own process: the listening socket, its peers with
// all that they still wait for, and every descriptor that it holds. Descriptors keep their numbers across exec; what
// they are is written into a memfd. A program reads exactly its own version of it: one that cannot is found out
// before anything is given up (renewal.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/custody_message.h"
#include "common/result.h"
#include "common/unique_fd.h"

namespace ppx {

struct Succession {
  // A place of the store: a descriptor (-1: none), and what was dropped there.
  struct Held {
    custody::Record record;
    uint32_t dropped = 0;
    uint32_t anyDropped = 0;
    int descriptor = -1;
  };
  // What a peer has not been told yet.
  struct Answer {
    custody::Type type;  // kPutDone, kDropDone, kGive (of what is held then), kMissing or kListed
    std::vector<custody::Record> records;
    uint64_t cursor = 0;
  };
  struct Peer {
    int channel = -1;
    bool introduced = false;
    bool deaf = false;
    WorkerId worker;
    std::vector<Answer> answers;
  };
  // Waits for the end of a dead worker's channel.
  struct Fetch {
    uint32_t peer = 0;  // its place among the peers
    std::vector<custody::Record> records;
    WorkerId after;
  };

  int listener = -1;
  std::vector<Held> held;
  std::vector<Peer> peers;
  std::vector<Fetch> fetches;

  // A memfd, close-on-exec like all others.
  Result<UniqueFd> write() const;
  // Whole and well-formed, or an error. The descriptors that it names are not looked at.
  static Result<Succession> read(int memfd);
  void forEachDescriptor(const std::function<void(int)>& visit) const;
};

}  // namespace ppx
