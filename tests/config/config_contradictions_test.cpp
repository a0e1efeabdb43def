// What is wrong between two keys.
#include "tests/config/config_testing.h"

namespace ppx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ConfigContradictions, TwoListenersOfOneName) {
  EXPECT_THAT(
      errorsOf("[[listener]]\nname='a'\nport=0\n[[listener]]\nport=0\nname='a'"),
      ElementsAre("paradox.toml:6:6: listener.name: expected a name of its own, found \"a\", which is the "
                  "name of [[listener]] in line 1"));
  EXPECT_THAT(
      errorsOf("[server]\nport=0\n[[listener]]\nport=0"),
      ElementsAre("paradox.toml:3:1: listener.name: expected a name of its own, found \"default\", which is "
                  "the name of [server] in line 1"));
}

TEST(ConfigContradictions, TwoPoolsOfOneName) {
  EXPECT_THAT(
      errorsOf("[[pool]]\nname='a'\n[[pool]]\nname='a'"),
      ElementsAre(
          "paradox.toml:4:6: pool.name: expected a name of its own, found \"a\", which is the name of "
          "[[pool]] in line 1"));
}

TEST(ConfigContradictions, TwoListenersOnOneAddress) {
  EXPECT_THAT(
      errorsOf("[server]\nport=1234\n[[listener]]\nname='a'\nport=1234"),
      ElementsAre("paradox.toml:5:6: listener.port: expected an address of its own, found 127.0.0.1:1234, "
                  "which clashes with 127.0.0.1:1234 of [server] in line 1"));
  EXPECT_THAT(
      errorsOf("[server]\nhost='0.0.0.0'\n[[listener]]\nname='a'\nport=7999"),
      ElementsAre("paradox.toml:5:6: listener.port: expected an address of its own, found 127.0.0.1:7999, "
                  "which clashes with 0.0.0.0:7999 of [server] in line 1"));
}

TEST(ConfigContradictions, AListenerOnTheAdminApisAddress) {
  EXPECT_THAT(
      errorsOf("[server]\nport = 8000"),
      ElementsAre(
          "paradox.toml:2:8: server.port: expected an address of its own, found 127.0.0.1:8000, which "
          "clashes with 127.0.0.1:8000 of the default management_server"));
  EXPECT_THAT(
      errorsOf("[server]\nhost = '0.0.0.0'\nport = 8000"),
      ElementsAre("paradox.toml:3:8: server.port: expected an address of its own, found 0.0.0.0:8000, which "
                  "clashes with 127.0.0.1:8000 of the default management_server"));
  EXPECT_THAT(errorsOf("[management_server]\nport = 7999"),
              ElementsAre("paradox.toml:2:8: management_server.port: expected an address of its own, found "
                          "127.0.0.1:7999, which clashes with 127.0.0.1:7999 of the default listener"));
}

TEST(ConfigContradictions, TwoUpstreamsOfOneAddress) {
  EXPECT_THAT(
      errorsOf("[[upstream]]\nhost='Worker'\n[[upstream]]\nhost='worker'\nport=45888"),
      ElementsAre(
          "paradox.toml:5:6: upstream.port: expected an upstream of its own, found worker:45888, which "
          "is that of [[upstream]] in line 1"));
}

TEST(ConfigContradictions, APoolThatIsNotDeclaredBesideOnesThatAre) {
  EXPECT_THAT(
      errorsOf("[[pool]]\nname='game'\n[[upstream]]\npool='gmae'"),
      ElementsAre(
          "paradox.toml:4:6: upstream.pool: expected a pool that a [[pool]] declares, found \"gmae\"; "
          "did you mean \"game\"?"));
  EXPECT_THAT(
      errorsOf("[[pool]]\nname='game'\n[[listener]]\npool='quotes'"),
      ElementsAre(HasSubstr("paradox.toml:4:6: listener.pool: expected a pool that a [[pool]] declares")));
  EXPECT_TRUE(goodConfig("[[pool]]\nname='game'\n[[upstream]]\npool='default'").upstreams[0].pool ==
              "default");
}

TEST(ConfigContradictions, BoundsInTheWrongOrder) {
  EXPECT_THAT(
      errorsOf("[sessions]\nmax_reply_bytes = '17MiB'"),
      ElementsAre("paradox.toml:2:19: sessions.max_reply_bytes: expected at most output_hard_bytes (16MiB), "
                  "found 17MiB"));
  EXPECT_THAT(
      errorsOf("[sessions]\noutput_soft_bytes = '2MiB'\noutput_hard_bytes = '1MiB'"),
      ElementsAre("paradox.toml:2:21: sessions.output_soft_bytes: expected at most output_hard_bytes (1MiB), "
                  "found 2MiB"));
  EXPECT_THAT(
      errorsOf("[sessions]\njournal_out_bytes = '8MiB'"),
      ElementsAre(
          "paradox.toml:2:21: sessions.journal_out_bytes: expected at least output_hard_bytes (16MiB), "
          "found 8MiB"));
  EXPECT_THAT(
      errorsOf("[sessions]\ninput_window_bytes = '1MiB'\njournal_in_bytes = '64KiB'"),
      ElementsAre(
          "paradox.toml:2:22: sessions.input_window_bytes: expected at most journal_in_bytes (64KiB), "
          "found 1MiB"));
  EXPECT_THAT(
      errorsOf("[workers]\nrespawn_backoff_max = '50ms'"),
      ElementsAre("paradox.toml:2:23: workers.respawn_backoff_max: expected at least respawn_backoff_min "
                  "(100ms), found 50ms"));
  EXPECT_THAT(
      errorsOf("[admission]\nmax_sessions = 20000"),
      ElementsAre("paradox.toml:2:16: admission.max_sessions: expected at most sessions.max (16384), found "
                  "20000"));
}

TEST(ConfigContradictions, AreNotInventedFromAKeyThatIsWrongItself) {
  EXPECT_THAT(errorsOf("[sessions]\nmax_reply_bytes = '17MiB'\noutput_hard_bytes = 'huge'"),
              ElementsAre(HasSubstr("sessions.output_hard_bytes: expected a size")));
  EXPECT_THAT(errorsOf("[server]\nport = 'x'\n[[listener]]\nname='a'\nport=7999"),
              ElementsAre(HasSubstr("server.port: expected an integer")));
}

TEST(ConfigContradictions, HalfOfTls) {
  EXPECT_THAT(
      errorsOf("[management_server.tls]\ncert_path = 'c.pem'\nkey_path = ''"),
      ElementsAre(
          "paradox.toml:3:12: management_server.tls.key_path: expected a file's name, since cert_path "
          "is set; found \"\""));
  EXPECT_THAT(
      errorsOf("[management_server.tls]\nkey_path = 'k.pem'"),
      ElementsAre("paradox.toml:1:1: management_server.tls.cert_path: expected a file's name, since key_path "
                  "is set; found no such key"));
}

TEST(ConfigContradictions, TwoTokens) {
  EXPECT_THAT(
      errorsOf("[management_server]\ntoken = 'a'\ntoken_file = 'b'"),
      ElementsAre(
          "paradox.toml:3:14: management_server.token_file: expected either token or token_file, found "
          "both"));
}

}  // namespace
}  // namespace ppx
