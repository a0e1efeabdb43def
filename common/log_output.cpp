#include "common/log_output.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace ppx {

LogOutput::LogOutput(LogProcess process, int fd, const std::string& journalSocket)
    : process_(std::move(process)),
      fd_(fd),
      journalBehind_(isJournal(fd)),
      journal_(journalSocket),
      incarnation_(process_.worker ? process_.worker->incarnation : 0) {
  process_.pid = ::getpid();
}

bool LogOutput::isJournal(int fd) {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat is {};
  if (stream == nullptr || ::fstat(fd, &is) != 0) return false;
  return std::to_string(is.st_dev) + ":" + std::to_string(is.st_ino) == stream;
}

void LogOutput::write(const LogRecord& record) {
  if (uint64_t lost = lost_.exchange(0)) {
    std::string text = std::to_string(lost) + " lines of the log were lost: nobody read them in time";
    if (!put({realtimeMillis(), LogAt::warn, "log_lost", {{"lines", lost}}, text})) {
      lost_ += lost + 1;
      return;
    }
  }
  if (!put(record)) ++lost_;
}

bool LogOutput::put(const LogRecord& record) {
  LogFormat format = format_.load(std::memory_order_relaxed);
  LogProcess process = process_;
  if (process.worker) process.worker->incarnation = incarnation_.load(std::memory_order_relaxed);
  if (format == LogFormat::kJson) return putLine(jsonLine(process, record));
  if (format == LogFormat::kAuto && journalBehind_) {
    int error = journal_.send(journalEntry(process, record));
    if (error == 0) return true;
    if (error == EAGAIN) return false;
  }
  return putLine(textLine(process, record));
}

// One write, so that the lines of processes that share a pipe stay whole.
bool LogOutput::putLine(std::string line) {
  line += '\n';
  pollfd writable{fd_, POLLOUT, 0};
  bool takes = ::poll(&writable, 1, stuck_.load(std::memory_order_relaxed) ? 0 : kPatienceMs) > 0;
  stuck_.store(!takes, std::memory_order_relaxed);
  if (!takes) return false;
  size_t done = 0;
  while (done < line.size()) {
    ssize_t put = ::write(fd_, line.data() + done, line.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return errno != EAGAIN;  // gone is gone: nobody is to be told of it
    done += static_cast<size_t>(put);
  }
  return true;
}

}  // namespace ppx
