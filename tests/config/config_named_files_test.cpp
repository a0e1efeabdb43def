// The file itself, and the files it names.
#include <fmt/format.h>
#include <unistd.h>

#include "tests/config/config_testing.h"

namespace ppx {
namespace {

using testing::ElementsAre;

std::vector<std::string> loadErrors(const std::filesystem::path& file) {
  return errorTexts(loadConfig(file));
}

TEST(ConfigFile, ThatIsMissingIsNamed) {
  const TempDir dir;
  const std::string name = dir.path() / "paradox.toml";
  EXPECT_THAT(loadErrors(name), ElementsAre(name + ": no such file"));
}

TEST(ConfigFile, MayNotBeADirectoryOrAPipe) {
  const TempDir dir;
  EXPECT_THAT(loadErrors(dir.path()), ElementsAre(dir.path().string() + ": is a directory, not a file"));
  const std::string pipe = dir.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(loadErrors(pipe), ElementsAre(pipe + ": is not a regular file"));
}

TEST(ConfigFile, MayNotBeLargerThanOneMebibyte) {
  const TempDir dir;
  EXPECT_THAT(loadErrors(dir.write("good.toml", std::string(kMaxConfigFileBytes, '\n'))), testing::IsEmpty());
  const auto large = dir.write("large.toml", std::string(kMaxConfigFileBytes + 1, '\n'));
  EXPECT_THAT(loadErrors(large), ElementsAre(large.string() + ": is larger than 1048576 bytes"));
}

TEST(ConfigFile, ThatCannotBeOpenedSaysWhy) {
  const TempDir dir;
  const std::string file = dir.write("plain", "") / "paradox.toml";
  EXPECT_THAT(loadErrors(file), ElementsAre(file + ": cannot be opened: Not a directory"));
}

TEST(ConfigFile, ErrorsCarryItsName) {
  const TempDir dir;
  const auto file = dir.write("x.toml", "[server]\nport = true");
  EXPECT_THAT(
      loadErrors(file),
      ElementsAre(file.string() + ":2:8: server.port: expected an integer from 0 to 65535, found true"));
}

class TokenFile : public testing::Test {
 protected:
  // Loads a configuration that names "token" in its own directory.
  LoadedConfig load() {
    return loadConfig(dir_.write("paradox.toml", "[management_server]\ntoken_file = 'token'"));
  }
  std::string error(std::string_view problem) {
    return fmt::format("{0}/paradox.toml:2:14: management_server.token_file: \"{0}/token\" {1}",
                       dir_.path().string(), problem);
  }
  TempDir dir_;
};

TEST_F(TokenFile, IsReadFromTheConfigurationsDirectory) {
  dir_.write("token", "s3cret\n", 0600);
  const LoadedConfig loaded = load();
  ASSERT_THAT(errorTexts(loaded), testing::IsEmpty());
  EXPECT_EQ(loaded.config->management.token, "s3cret");
  EXPECT_EQ(loaded.config->management.tokenFile, dir_.path() / "token");
}

TEST_F(TokenFile, MustBeThere) {
  EXPECT_THAT(errorTexts(load()), ElementsAre(error("no such file")));
}

TEST_F(TokenFile, IsNamedWhole) {
  const std::string name(200, 'x');
  const auto file = dir_.write("paradox.toml", "[management_server]\ntoken_file = '" + name + "'");
  EXPECT_THAT(loadErrors(file), ElementsAre(testing::HasSubstr(name + "\" no such file")));
}

TEST_F(TokenFile, MustBeClosedToOthers) {
  for (mode_t mode : {0604, 0620, 0644, 0660}) {
    ASSERT_EQ(::chmod(dir_.write("token", "s3cret\n").c_str(), mode), 0);
    EXPECT_THAT(
        errorTexts(load()),
        ElementsAre(error(fmt::format(
            "is open to others (mode {:04o}); expected mode 0600, or 0640 and the gateway's group", mode))));
  }
}

TEST_F(TokenFile, MayBeReadByTheGatewaysGroup) {
  dir_.write("token", "s3cret\n", 0640);
  EXPECT_THAT(errorTexts(load()), testing::IsEmpty());
}

TEST_F(TokenFile, OfAnotherGroupIsOpenToOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives files away";
  const auto file = dir_.write("token", "s3cret\n", 0640);
  ASSERT_EQ(::chown(file.c_str(), 65534, 65534), 0);
  EXPECT_THAT(errorTexts(load()), ElementsAre(testing::HasSubstr("is open to others (mode 0640)")));
  ASSERT_EQ(::chown(file.c_str(), 0, 65534), 0);
  EXPECT_THAT(errorTexts(load()), testing::IsEmpty());
}

TEST_F(TokenFile, MustHoldOneTokenAndIsNeverShown) {
  for (const std::string& text : {std::string(), std::string("\n"), std::string("two words"),
                                  std::string("a\nb\n"), std::string(257, 'x')}) {
    dir_.write("token", text, 0600);
    EXPECT_THAT(
        errorTexts(load()),
        ElementsAre(error("does not hold one line of 1 to 256 visible ASCII characters without blanks")));
  }
  dir_.write("token", std::string(5000, 'x'), 0600);
  EXPECT_THAT(errorTexts(load()), ElementsAre(error("is larger than 4096 bytes")));
}

TEST(ConfigTls, FilesMustBeThereAndPem) {
  const TempDir dir;
  dir.write("k.pem", "-----BEGIN PRIVATE KEY-----\n");
  const auto file =
      dir.write("paradox.toml", "[management_server.tls]\ncert_path = 'c.pem'\nkey_path = 'k.pem'");
  const std::string start = fmt::format(
      "{0}/paradox.toml:2:13: management_server.tls.cert_path: \"{0}/c.pem\" ", dir.path().string());
  EXPECT_THAT(loadErrors(file), ElementsAre(start + "no such file"));
  dir.write("c.pem", "hello");
  EXPECT_THAT(loadErrors(file), ElementsAre(start + "is not a PEM file"));
  dir.write("c.pem", "-----BEGIN CERTIFICATE-----\n");
  const LoadedConfig loaded = loadConfig(file);
  ASSERT_THAT(errorTexts(loaded), testing::IsEmpty());
  EXPECT_EQ(loaded.config->management.tls.certPath, dir.path() / "c.pem");
}

TEST(ConfigTls, AbsoluteNamesStayAsTheyAre) {
  const TempDir dir;
  const TempDir other;
  const auto pem = other.write("both.pem", "-----BEGIN CERTIFICATE-----\n");
  const auto file =
      dir.write("paradox.toml",
                fmt::format("[management_server.tls]\ncert_path = '{0}'\nkey_path = '{0}'", pem.string()));
  const LoadedConfig loaded = loadConfig(file);
  ASSERT_THAT(errorTexts(loaded), testing::IsEmpty());
  EXPECT_EQ(loaded.config->management.tls.keyPath, pem);
}

}  // namespace
}  // namespace ppx
