// A line of the log in its three forms, and where it goes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/log_output.h"
#include "common/log_settings.h"

namespace ppx {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

const LogProcess kForwarder{"forwarder-1", LogOrigin{1, 7}, 4711};
const LogProcess kSupervisor{"paradoxd", std::nullopt, 12};
constexpr Millis kTime = 1714564800123;  // 2024-05-01T12:00:00.123Z
const Uuid kSession = *parseUuid("01234567-89ab-4cde-8f01-23456789abcd");

std::string lineOf(const LogProcess& process, LogFields fields, std::string_view text) {
  return jsonLine(process, {kTime, LogAt::warn, "an_event", fields, text});
}

TEST(LogRecord, IsOneLineOfText) {
  EXPECT_EQ(
      textLine(kForwarder, {kTime, LogAt::warn, "an_event", {{"row", 3}}, "line\none\x1b[31m \xc3\xa4"}),
      "2024-05-01T12:00:00.123Z warning forwarder-1[4711] line\\none\\x1b[31m \xc3\xa4");
}

TEST(LogRecord, IsJsonWithItsFieldsAndThoseOfItsProcess) {
  json line = json::parse(
      lineOf(kForwarder, {{"session", kSession}, {"upstream", "10.0.0.1:80"}, {"bytes", 5u}}, "x"));
  EXPECT_EQ(line, json({{"time", "2024-05-01T12:00:00.123Z"},
                        {"level", "warn"},
                        {"process", "forwarder-1"},
                        {"pid", 4711},
                        {"event", "an_event"},
                        {"session", "01234567-89ab-4cde-8f01-23456789abcd"},
                        {"upstream", "10.0.0.1:80"},
                        {"bytes", 5},
                        {"worker", "forwarder-1"},
                        {"row", 1},
                        {"incarnation", 7},
                        {"message", "x"}}));
}

TEST(LogRecord, OfTheSupervisorAboutAWorkerNamesThatOne) {
  json line = json::parse(lineOf(kSupervisor, {{"worker", "acceptor-0"}, {"row", 32}}, "x"));
  EXPECT_EQ(line.at("worker"), "acceptor-0");
  EXPECT_EQ(line.at("process"), "paradoxd");
  EXPECT_FALSE(json::parse(lineOf(kSupervisor, {}, "x")).contains("worker"));
  json other = json::parse(lineOf(kForwarder, {{"worker", "forwarder-0"}, {"row", 0}}, "x"));
  EXPECT_EQ(other.at("row"), 0);
  EXPECT_FALSE(other.contains("incarnation"));
}

TEST(LogRecord, IsValidJsonWhateverAPeerSays) {
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every += static_cast<char>(byte);
  for (const std::string& said :
       {every, std::string("\xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 \xe2\x82"),
        std::string("\"}\n{\"level\":\"\\"), std::string("\xe2\x82\xac\xf0\x9f\x98\x80")}) {
    std::string line = lineOf(kForwarder, {{"upstream", said}}, said);
    EXPECT_THAT(line, Not(HasSubstr("\n")));
    json parsed = json::parse(line);
    EXPECT_EQ(parsed.at("upstream"), parsed.at("message"));
  }
  EXPECT_EQ(json::parse(lineOf(kForwarder, {}, "\xe2\x82\xac\xf0\x9f\x98\x80")).at("message"),
            "\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST(LogRecord, IsBounded) {
  std::string endless(1 << 20, 'x');
  EXPECT_LT(lineOf(kForwarder, {{"upstream", endless}}, endless).size(), 2 * kMaxLogText + 512);
}

TEST(LogRecord, IsAnEntryOfTheJournal) {
  EXPECT_EQ(journalEntry(kForwarder, {kTime, LogAt::err, "session_ended", {{"session", kSession}}, "gone"}),
            "MESSAGE=gone\nPRIORITY=3\nSYSLOG_IDENTIFIER=paradox-forwarder-1\nPPX_EVENT=session_ended\n"
            "PPX_SESSION=01234567-89ab-4cde-8f01-23456789abcd\nPPX_WORKER=forwarder-1\nPPX_ROW=1\n"
            "PPX_INCARNATION=7\n");
  // A value with line breaks goes by its length, so that it cannot say another field.
  std::string forged = "a\nPRIORITY=0";
  std::string length("\x0c\0\0\0\0\0\0\0", 8);
  EXPECT_EQ(journalEntry(kSupervisor, {kTime, LogAt::info, "", {}, forged}),
            "MESSAGE\n" + length + forged + "\nPRIORITY=6\nSYSLOG_IDENTIFIER=paradoxd\n");
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
  std::string next(int deadlineMs = 2000) const {
    pollfd waiting{read.get(), POLLIN, 0};
    std::array<char, 1 << 17> buffer{};
    if (::poll(&waiting, 1, deadlineMs) <= 0) return "";
    ssize_t got = ::read(read.get(), buffer.data(), buffer.size());
    return got > 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : "";
  }
  UniqueFd read, write;
};

struct Journal {
  Journal() : socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    if (::mkdtemp(folder.data()) == nullptr) std::abort();
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::abort();
  }
  ~Journal() {
    ::unsetenv("JOURNAL_STREAM");
    ::unlink(path().c_str());
    ::rmdir(folder.c_str());
  }
  std::string path() const { return folder + "/socket"; }
  static void claims(int fd) {
    struct stat is {};
    ::fstat(fd, &is);
    ::setenv("JOURNAL_STREAM", (std::to_string(is.st_dev) + ":" + std::to_string(is.st_ino)).c_str(), 1);
  }
  std::string next() const {
    std::array<char, 1 << 15> buffer{};
    ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    return got > 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : "";
  }
  std::string folder = std::filesystem::temp_directory_path() / "ppx-log-XXXXXX";
  UniqueFd socket;
};

const LogRecord kRecord{kTime, LogAt::info, "an_event", {}, "hello"};

TEST(LogOutput, GoesToTheJournalOnlyWhereStderrIsTheJournal) {
  Pipe pipe;
  Journal journal;
  LogOutput plain(kForwarder, pipe.write.get(), journal.path());
  plain.write(kRecord);
  EXPECT_THAT(pipe.next(), HasSubstr(" info forwarder-1["));
  Journal::claims(pipe.write.get());
  LogOutput native(kForwarder, pipe.write.get(), journal.path());
  native.write(kRecord);
  EXPECT_THAT(journal.next(), HasSubstr("MESSAGE=hello\n"));
  EXPECT_EQ(pipe.next(0), "");
  native.setFormat(LogFormat::kJson);
  native.write(kRecord);
  EXPECT_EQ(json::parse(pipe.next()).at("message"), "hello");
  native.setFormat(LogFormat::kText);
  native.write(kRecord);
  EXPECT_THAT(pipe.next(), HasSubstr("] hello\n"));
  EXPECT_EQ(journal.next(), "");
}

TEST(LogOutput, GoesToStderrWhenTheJournalIsGone) {
  Pipe pipe;
  Journal::claims(pipe.write.get());
  LogOutput output(kForwarder, pipe.write.get(), "/nowhere/socket");
  ::unsetenv("JOURNAL_STREAM");
  output.write(kRecord);
  EXPECT_THAT(pipe.next(), HasSubstr("] hello\n"));
}

TEST(LogOutput, WaitsForNoJournalAndCountsWhatItLost) {
  Pipe pipe;
  Journal journal;
  Journal::claims(pipe.write.get());
  LogOutput output(kForwarder, pipe.write.get(), journal.path());
  while (DatagramSender(journal.path()).send("filling") == 0) {
  }
  for (int i = 0; i < 3; ++i) output.write(kRecord);
  while (!journal.next().empty()) {
  }
  output.write(kRecord);
  EXPECT_THAT(journal.next(), HasSubstr("PPX_LINES=3\n"));
  EXPECT_THAT(journal.next(), HasSubstr("MESSAGE=hello\n"));
  EXPECT_EQ(pipe.next(0), "");
}

TEST(LogOutput, WaitsForAPipeOnceAndNotForEver) {
  Pipe pipe;
  ::fcntl(pipe.write.get(), F_SETPIPE_SZ, 4 * 4096);
  LogOutput output(kForwarder, pipe.write.get(), "/nowhere/socket");
  std::string filling(static_cast<size_t>(::fcntl(pipe.write.get(), F_GETPIPE_SZ)), '.');
  ASSERT_EQ(::write(pipe.write.get(), filling.data(), filling.size()), static_cast<ssize_t>(filling.size()));
  Millis began = monotonicMillis();
  for (int i = 0; i < 100; ++i) output.write(kRecord);
  EXPECT_LT(monotonicMillis() - began, 10 * LogOutput::kPatienceMs);
  EXPECT_EQ(pipe.next(), filling);
  output.write(kRecord);
  EXPECT_THAT(pipe.next(), HasSubstr("100 lines of the log were lost"));
}

TEST(LogSettings, AreOneWord) {
  LogSettings settings = LogSettings::same(LogAt::info, LogFormat::kJson);
  settings.of(WorkerRole::kCustodian) = LogAt::trace;
  settings.of(WorkerRole::kNone) = LogAt::off;
  EXPECT_EQ(LogSettings::from(settings.word()), settings);
  EXPECT_EQ(LogSettings::from(0), std::nullopt);
}

// Neither the text nor the UUID is written out.
struct Loud {};

}  // namespace
}  // namespace ppx

template <>
struct fmt::formatter<ppx::Loud> {
  static inline int times = 0;
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  auto format(const ppx::Loud&, fmt::format_context& context) const {
    ++times;
    return context.out();
  }
};

namespace ppx {
namespace {

TEST(Log, FormatsNothingAtALevelThatIsOff) {
  spdlog::set_level(LogAt::info);
  logDebug("nothing", {{"session", kSession}}, "{} {}", kSession, Loud{});
  EXPECT_EQ(fmt::formatter<Loud>::times, 0);
  logWarn("something", {{"session", kSession}}, "{} {}", kSession, Loud{});
  EXPECT_EQ(fmt::formatter<Loud>::times, 1);
}

}  // namespace
}  // namespace ppx
