// Where a process's log goes. Any thread; holds no lock, and waits at most kPatience for who reads.
#pragma once

#include <atomic>

#include "common/datagram_sender.h"
#include "common/log_record.h"

namespace ppx {

class LogOutput {
 public:
  static constexpr int kPatienceMs = 1000;  // for a pipe or terminal; once, until it takes something again
  static constexpr char kJournalSocket[] = "/run/systemd/journal/socket";

  // `fd`: stderr, but for tests.
  explicit LogOutput(LogProcess process, int fd = 2, const std::string& journalSocket = kJournalSocket);

  void write(const LogRecord& record);
  void setFormat(LogFormat format) { format_.store(format, std::memory_order_relaxed); }
  void setIncarnation(uint32_t incarnation) { incarnation_.store(incarnation, std::memory_order_relaxed); }
  // The journal gave us this descriptor, as JOURNAL_STREAM says.
  static bool isJournal(int fd);

 private:
  bool put(const LogRecord& record);
  bool putLine(std::string line);

  LogProcess process_;
  int fd_;
  bool journalBehind_;  // stderr is the journal
  DatagramSender journal_;
  std::atomic<LogFormat> format_{LogFormat::kAuto};
  std::atomic<uint32_t> incarnation_;
  std::atomic<bool> stuck_{false};
  std::atomic<uint64_t> lost_{0};
};

}  // namespace ppx
