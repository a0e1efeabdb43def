// docs/CONFIGURATION.md and the annotated example say exactly what the schema says. When the schema changes,
// run PPX_WRITE_CONFIG_DOCS=1 build/tests/config_test --gtest_filter='ConfigDocs.*' and look at the
// difference.
#include <fmt/format.h>

#include <cstdlib>
#include <iterator>
#include <map>
#include <set>

#include "supervisor/config_schema.h"
#include "tests/config/config_testing.h"

namespace ppx {
namespace {

const std::filesystem::path kSource = PPX_SOURCE_DIR;
constexpr std::string_view kTableHead = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n";

std::string contents(const std::filesystem::path& file) {
  std::ifstream in(file);
  EXPECT_TRUE(in) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string tableOf(const SectionSpec& section) {
  std::string table(kTableHead);
  for (const KeySpec& key : section.keys) {
    const std::string value = defaultText(section, key);
    table += fmt::format("| `{}` | {} | {} | {} |\n", key.name, kindText(key.rule),
                         key.defaultNote.empty() ? fmt::format("`{}`", value) : value, key.help);
  }
  return table;
}

std::string markOf(const SectionSpec& section) {
  return fmt::format("<!-- keys of {} -->\n", section.name);
}

// The document with the table after each section's mark replaced by the schema's.
std::string withTables(const std::string& document) {
  std::string result = document;
  for (const SectionSpec& section : configSections()) {
    const std::string mark = markOf(section);
    const std::size_t found = result.find(mark);
    if (found == std::string::npos) continue;
    const std::size_t start = found + mark.size();
    std::size_t end = start;
    while (end < result.size() && result[end] == '|')
      end = std::min(result.find('\n', end), result.size() - 1) + 1;
    result.replace(start, end - start, tableOf(section));
  }
  return result;
}

TEST(ConfigDocs, HaveASectionForEachTableOfTheSchema) {
  const std::string document = contents(kSource / "docs/CONFIGURATION.md");
  for (const SectionSpec& section : configSections()) {
    const std::string heading = section.list() ? fmt::format("\n## `[[{}]]`\n", section.name)
                                               : fmt::format("\n## `[{}]`\n", section.name);
    EXPECT_NE(document.find(heading), std::string::npos) << heading;
    EXPECT_NE(document.find(markOf(section)), std::string::npos) << section.name;
  }
}

TEST(ConfigDocs, ListExactlyTheKeysOfTheSchemaWithRangesAndDefaults) {
  const std::filesystem::path file = kSource / "docs/CONFIGURATION.md";
  const std::string expected = withTables(contents(file));
  if (std::getenv("PPX_WRITE_CONFIG_DOCS") != nullptr) std::ofstream(file) << expected;
  EXPECT_EQ(contents(file), expected);
  std::size_t tables = 0;
  for (auto at = expected.find(kTableHead); at != std::string::npos; at = expected.find(kTableHead, at + 1))
    ++tables;
  EXPECT_EQ(tables, configSections().size());
}

// "key = value" lines of a TOML file by section, for the simple files that are examples.
std::map<std::string, std::set<std::string>> keysOf(const std::string& toml) {
  std::map<std::string, std::set<std::string>> keys;
  std::string section;
  std::istringstream lines(toml);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("[")) {
      const std::size_t start = line.find_first_not_of('[');
      section = line.substr(start, line.find(']') - start);
    } else if (const std::size_t equals = line.find(" = ");
               equals != std::string::npos && !line.starts_with("#")) {
      keys[section].insert(line.substr(0, equals));
    }
  }
  return keys;
}

TEST(ConfigExamples, TheAnnotatedOneHasEveryKey) {
  auto keys = keysOf(contents(kSource / "examples/config/paradox.toml"));
  for (const SectionSpec& section : configSections()) {
    for (const KeySpec& key : section.keys) {
      EXPECT_TRUE(keys[std::string(section.name)].contains(std::string(key.name)))
          << section.name << "." << key.name;
    }
  }
}

TEST(ConfigExamples, TheAnnotatedOneIsAtTheDefaults) {
  const LoadedConfig loaded = loadConfig(kSource / "examples/config/paradox.toml");
  ASSERT_THAT(errorTexts(loaded), testing::IsEmpty());
  Config example = *loaded.config;
  Config defaults = goodConfig("");
  for (const SectionSpec& section : configSections()) {
    if (section.list() || section.name == "server") continue;
    for (const KeySpec& key : section.keys) {
      EXPECT_EQ(valueText(key.rule, key.field.get(section.open(example))),
                valueText(key.rule, key.field.get(section.open(defaults))))
          << section.name << "." << key.name;
    }
  }
  const SectionSpec& server = *findSection("server");
  for (const KeySpec& key : server.keys) {
    EXPECT_EQ(valueText(key.rule, key.field.get(&example.listeners[0])),
              valueText(key.rule, key.field.get(&defaults.listeners[0])))
        << key.name;
  }
}

TEST(ConfigExamples, TheOriginalProjectsFormLoadsAsItIs) {
  const LoadedConfig loaded = loadConfig(kSource / "examples/config/original.toml");
  ASSERT_THAT(errorTexts(loaded), testing::IsEmpty());
  const Config& config = *loaded.config;
  ASSERT_EQ(config.listeners.size(), 1U);
  EXPECT_EQ(config.listeners[0].name, "default");
  EXPECT_EQ(config.listeners[0].host, "0.0.0.0");
  EXPECT_EQ(config.listeners[0].port, 7999);
  ASSERT_EQ(config.upstreams.size(), 1U);
  EXPECT_EQ(config.upstreams[0].host, "127.0.0.1");
  EXPECT_EQ(config.upstreams[0].port, 45888);
  EXPECT_EQ(config.upstreams[0].aliveTimeout, std::chrono::seconds(30));
  EXPECT_EQ(config.upstreams[0].readyTimeout, std::chrono::seconds(5));
  EXPECT_EQ(config.management.port, 8000);
  EXPECT_EQ(config.management.logLevel, LogLevel::kInfo);
  EXPECT_FALSE(config.management.tls.enabled());
}

// Each row reaches the member it names, over its whole range, without loss: a copy-and-paste slip in the
// table or a member that is too small would show.
TEST(ConfigSchema, EveryKeyHoldsBothEndsOfItsRange) {
  for (const SectionSpec& section : configSections()) {
    for (const KeySpec& key : section.keys) {
      if (key.rule.min == key.rule.max) continue;
      for (const std::int64_t end : {key.rule.min, key.rule.max}) {
        Config config;
        void* const target = section.open(config);
        key.field.set(target, end);
        EXPECT_EQ(key.field.get(target), ConfigValue(end)) << section.name << "." << key.name;
      }
    }
  }
}

TEST(ConfigSchema, EveryKeyHasAMemberOfItsOwn) {
  for (const SectionSpec& section : configSections()) {
    for (const KeySpec& key : section.keys) {
      Config config;
      void* const target = section.open(config);
      const bool text = std::holds_alternative<std::string>(key.field.get(target));
      const ConfigValue value = text ? ConfigValue("x") : ConfigValue(std::int64_t{1});
      std::map<std::string_view, ConfigValue> before;
      for (const KeySpec& other : section.keys) before.emplace(other.name, other.field.get(target));
      key.field.set(target, value);
      for (const KeySpec& other : section.keys) {
        EXPECT_EQ(other.field.get(target), other.name == key.name ? value : before.at(other.name))
            << section.name << "." << key.name << " writes " << other.name;
      }
    }
  }
}

TEST(ConfigSchema, EveryDefaultIsWithinItsRange) {
  for (const SectionSpec& section : configSections()) {
    for (const KeySpec& key : section.keys) {
      if (key.rule.min == key.rule.max) continue;
      Config config;
      const auto value = std::get<std::int64_t>(key.field.get(section.open(config)));
      EXPECT_GE(value, key.rule.min) << section.name << "." << key.name;
      EXPECT_LE(value, key.rule.max) << section.name << "." << key.name;
    }
  }
}

}  // namespace
}  // namespace ppx
