// Replaces the custodian's program by the one that is on disk, in the same process: pid, incarnation, channels and
// all descriptors stay, so custody is complete all the time and no peer notices.
//
//   1. the new program is run beside this one, as `--check-succession 3`, with what it would get: it must read all of
//      it. The custodian serves on meanwhile.
//   2. what is to be handed on is written down again, and the new program is executed, with PPX_SUCCESSION=N.
//
// When it cannot be run, says no, takes too long or cannot be executed, everything is as before. When it dies after
// that, it is a crash of the custodian like any other: a new one is filled by the forwarders.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <string>

#include "common/program_image.h"
#include "common/result.h"
#include "supervisor/custodian/succession.h"

namespace ppx {

// Before all else: answers `--check-succession FD` with its exit code and ends; reads what PPX_SUCCESSION names. Ends the
// process if that cannot be read.
std::optional<Succession> takeSuccession(int argc, char** argv);
// Once SIGUSR2 is listened for: exec leaves it blocked.
void unblockRenewal();

class Renewal {
 public:
  Renewal(boost::asio::io_context& io, ProgramImage image, std::function<Succession()> handOn);
  ~Renewal();

  // `failed` is called with the reason, or never. While one is under way another is refused so.
  void begin(std::function<void(const std::string& reason)> failed);

 private:
  Status startCheck();
  void checked();
  void fail(const std::string& reason);
  Error execute();

  ProgramImage image_;
  std::function<Succession()> handOn_;
  std::function<void(const std::string&)> failed_;
  boost::asio::posix::stream_descriptor checkWatch_;  // pidfd
  boost::asio::steady_timer deadline_;
  int checkPid_ = 0;
};

}  // namespace ppx
