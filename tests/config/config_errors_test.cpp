// What is wrong with one key, or with the text as a whole, and what a person reads about it.
#include "tests/config/config_testing.h"

namespace ppx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

TEST(ConfigErrors, NameFileLineColumnKeyAndWhatWasExpected) {
  EXPECT_THAT(
      errorsOf("\n\n[server]\nport = \"80a\""),
      ElementsAre(R"(paradox.toml:4:8: server.port: expected an integer from 0 to 65535, found "80a")"));
}

TEST(ConfigErrors, NameTheNearestKnownSection) {
  EXPECT_THAT(errorsOf("\n\n[[listner]]\nport = 1"),
              ElementsAre(R"(paradox.toml:3:1: listner: unknown key; did you mean "listener"?)"));
  EXPECT_THAT(
      errorsOf("[managment_server]\nport = 1"),
      ElementsAre(R"(paradox.toml:1:1: managment_server: unknown key; did you mean "management_server"?)"));
}

TEST(ConfigErrors, NameTheNearestKnownKey) {
  EXPECT_THAT(errorsOf("[server]\nprot = 1"),
              ElementsAre(R"(paradox.toml:2:1: server.prot: unknown key; did you mean "port"?)"));
  EXPECT_THAT(
      errorsOf("[[upstream]]\nalive-timeout = 1"),
      ElementsAre(R"(paradox.toml:2:1: upstream.alive-timeout: unknown key; did you mean "alive_timeout"?)"));
  EXPECT_THAT(
      errorsOf("[management_server.tls]\ncert = 'x'"),
      ElementsAre("paradox.toml:2:1: management_server.tls.cert: unknown key; the nearest known one is "
                  "\"management_server.tls.cert_path\""));
}

TEST(ConfigErrors, NameTheSectionThatKnowsTheKey) {
  EXPECT_THAT(
      errorsOf("[sessions]\nforwarders = 1"),
      ElementsAre(
          R"(paradox.toml:2:1: sessions.forwarders: unknown key; did you mean "workers.forwarders"?)"));
  EXPECT_THAT(errorsOf("port = 1"),
              ElementsAre(R"(paradox.toml:1:1: port: unknown key; did you mean "server.port"?)"));
}

TEST(ConfigErrors, KeepAStrangeKeyOnOneLine) {
  EXPECT_THAT(errorsOf("[server]\n\"we\\nird\" = 1"),
              ElementsAre(HasSubstr(R"(server."we\x0aird": unknown key; the nearest known one is)")));
}

TEST(ConfigErrors, AreReportedTogetherInTheOrderOfTheFile) {
  EXPECT_THAT(
      errorsOf("[workers]\nforwarders = 33\n[admission]\nat_limit = 1\n[server]\nport = -1\nprot = 1"),
      ElementsAre("paradox.toml:2:14: workers.forwarders: expected an integer from 1 to 31, found 33",
                  "paradox.toml:4:12: admission.at_limit: expected \"wait\" or \"refuse\", found 1",
                  "paradox.toml:6:8: server.port: expected an integer from 0 to 65535, found -1",
                  "paradox.toml:7:1: server.prot: unknown key; did you mean \"port\"?"));
}

TEST(ConfigErrors, AreBounded) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "key" + std::to_string(i) + " = 1\n";
  const auto errors = errorsOf(text);
  ASSERT_THAT(errors, SizeIs(kMaxConfigErrors + 1));
  EXPECT_EQ(errors.back(), "paradox.toml: 980 more errors are not shown");
}

TEST(ConfigErrors, SayWhatEachKindOfValueMustBe) {
  EXPECT_THAT(
      errorsOf("[server]\nhost = \"ex ample\""),
      ElementsAre("paradox.toml:2:8: server.host: expected a host name or an IP address (IPv6 without "
                  "brackets) as a string, found \"ex ample\""));
  EXPECT_THAT(errorsOf("[server]\nhost = \"[::1]\""), ElementsAre(HasSubstr("IPv6 without brackets")));
  EXPECT_THAT(errorsOf("[server]\nhost = ''"), ElementsAre(HasSubstr("found \"\"")));
  EXPECT_THAT(
      errorsOf("[[listener]]\nname = 'a b'"),
      ElementsAre("paradox.toml:2:8: listener.name: expected a name of 1 to 32 letters, digits, '_', '-' or "
                  "'.' as a string, found \"a b\""));
  EXPECT_THAT(
      errorsOf("[sessions]\nidle_timeout = '5 parsecs'"),
      ElementsAre("paradox.toml:2:16: sessions.idle_timeout: expected a time from 0 to 365d (seconds, or "
                  "\"250ms\", \"5s\", \"2m\"), found \"5 parsecs\""));
  EXPECT_THAT(
      errorsOf("[sessions]\nkeepalive_idle = 1.5"),
      ElementsAre("paradox.toml:2:18: sessions.keepalive_idle: expected a time in whole seconds from 0 to "
                  "32767s (seconds, or \"5s\", \"2m\"), found 1.5"));
  EXPECT_THAT(
      errorsOf("[sessions]\noutput_soft_bytes = '64KB'"),
      ElementsAre("paradox.toml:2:21: sessions.output_soft_bytes: expected a size from 4KiB to 4GiB (bytes, "
                  "or \"64KiB\", \"1MiB\"), found \"64KB\""));
  EXPECT_THAT(
      errorsOf("[management_server]\ntoken = 'a b'"),
      ElementsAre("paradox.toml:2:9: management_server.token: expected a string of up to 256 visible ASCII "
                  "characters without blanks (\"\" for none), found a string that is not shown"));
  EXPECT_THAT(
      errorsOf("[management_server]\ntoken_file = 5"),
      ElementsAre("paradox.toml:2:14: management_server.token_file: expected a file's name as a string (\"\" "
                  "for none), found 5"));
}

TEST(ConfigErrors, SuggestTheNearestWord) {
  EXPECT_THAT(errorsOf("[server]\ncrash_policy = 'clsoe'"),
              ElementsAre("paradox.toml:2:16: server.crash_policy: expected \"close\" or \"continue\", found "
                          "\"clsoe\"; did you mean \"close\"?"));
}

TEST(ConfigErrors, SayWhatWasFoundInsteadOfAValue) {
  const std::string expected = "paradox.toml:2:8: server.port: expected an integer from 0 to 65535, found ";
  const auto found = [](std::string_view value) {
    return errorsOf("[server]\nport = " + std::string(value));
  };
  EXPECT_THAT(found("true"), ElementsAre(expected + "true"));
  EXPECT_THAT(found("1.5"), ElementsAre(expected + "1.5"));
  EXPECT_THAT(found("[1]"), ElementsAre(expected + "a list"));
  EXPECT_THAT(found("{a = 1}"), ElementsAre(expected + "a table"));
  EXPECT_THAT(found("2026-01-01"), ElementsAre(expected + "a date"));
  EXPECT_THAT(found("10:00:00"), ElementsAre(expected + "a time of day"));
  EXPECT_THAT(found("2026-01-01T10:00:00Z"), ElementsAre(expected + "a date and time"));
  EXPECT_THAT(found("65536"), ElementsAre(expected + "65536"));
}

TEST(ConfigErrors, AnUpstreamHasNoPortZero) {
  EXPECT_THAT(errorsOf("[[upstream]]\nport = 0"),
              ElementsAre("paradox.toml:2:8: upstream.port: expected an integer from 1 to 65535, found 0"));
}

TEST(ConfigErrors, TellListsFromTables) {
  EXPECT_THAT(errorsOf("[upstream]\nport = 1"),
              ElementsAre("paradox.toml:1:1: upstream: expected tables [[upstream]], found a table"));
  EXPECT_THAT(errorsOf("[[server]]\nport = 1"),
              ElementsAre("paradox.toml:1:1: server: expected one table [server], found a list"));
  EXPECT_THAT(errorsOf("listener = [1]"),
              ElementsAre("paradox.toml:1:13: listener: expected tables [[listener]], found 1"));
  EXPECT_THAT(
      errorsOf("[management_server]\ntls = 5"),
      ElementsAre("paradox.toml:2:7: management_server.tls: expected one table [management_server.tls], "
                  "found 5"));
}

TEST(ConfigErrors, BoundTheNumberOfTables) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "[[listener]]\nport = 0\nname = 'n" + std::to_string(i) + "'\n";
  EXPECT_THAT(errorsOf(text), ElementsAre("paradox.toml:97:1: listener: expected at most 32 [[listener]]"));
}

TEST(ConfigErrors, OfSyntaxHaveLineAndColumn) {
  EXPECT_THAT(errorsOf("[server]\nport = \n"), ElementsAre(HasSubstr("paradox.toml:2:8: not TOML: ")));
  EXPECT_THAT(errorsOf("[server\nport = 1"), ElementsAre(HasSubstr("paradox.toml:1:8: not TOML: ")));
  EXPECT_THAT(errorsOf("[server]\nhost = 'a"), ElementsAre(HasSubstr("paradox.toml:2:10: not TOML: ")));
  EXPECT_THAT(errorsOf("[server]\nport = 1\nport = 2"),
              ElementsAre(HasSubstr("cannot redefine existing integer 'port'")));
  EXPECT_THAT(errorsOf("[server]\n[server]"),
              ElementsAre(HasSubstr("cannot redefine existing table 'server'")));
  EXPECT_THAT(errorsOf("a = '\xff'"), ElementsAre(HasSubstr("paradox.toml:1:5: not TOML: ")));
}

TEST(ConfigErrors, OfSyntaxAreOneShortLineWhateverTheTextHolds) {
  const std::string key = "\"a\\nb" + std::string(10'000, 'x') + "\"";
  const auto errors = errorsOf(key + " = 1\n" + key + " = 2");
  ASSERT_THAT(errors, ElementsAre(HasSubstr("cannot redefine existing integer")));
  EXPECT_EQ(errors[0].find('\n'), std::string::npos);
  EXPECT_LT(errors[0].size(), 300U);
}

TEST(ConfigErrors, RefuseTextThatWouldExhaustTheParser) {
  std::string dotted;
  for (int i = 0; i < 100'000; ++i) dotted += "a.";
  EXPECT_THAT(errorsOf("\n" + dotted + "b = 1"),
              ElementsAre("paradox.toml:2:130: expected at most 64 dots in a line"));
  EXPECT_THAT(errorsOf("a = " + std::string(1000, '[') + std::string(1000, ']')),
              ElementsAre("paradox.toml:1:21: expected at most 16 brackets open"));
  EXPECT_THAT(errorsOf(std::string(kMaxConfigFileBytes + 1, '\n')),
              ElementsAre("paradox.toml: is larger than 1048576 bytes"));
}

TEST(ConfigErrors, CountNoBracketsOrDotsInStringsAndComments) {
  const std::string many = std::string(100, '[') + std::string(100, '.');
  const std::string key = "[management_server]\ntoken_file = ";
  EXPECT_THAT(errorsOf("# " + many + "\n" + key + R"("\")" + many + "\""), testing::IsEmpty());
  EXPECT_THAT(errorsOf(key + "'" + many + "'"), testing::IsEmpty());
  EXPECT_THAT(errorsOf(key + R"(""")" + many + R"(""""")"), testing::IsEmpty());
  EXPECT_THAT(errorsOf(key + "'''" + many + "'''"), testing::IsEmpty());
  EXPECT_THAT(errorsOf(key + R"("\)"), ElementsAre(HasSubstr("not TOML")));
  EXPECT_THAT(errorsOf(key + R"("""x""""")" + many),
              ElementsAre(HasSubstr("expected at most 16 brackets open")));
}

}  // namespace
}  // namespace ppx
