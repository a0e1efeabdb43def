// Files damaged at random (the seed is fixed): each is loaded or refused with readable errors; none does
// harm.
#include <algorithm>
#include <iterator>
#include <random>

#include "tests/config/config_testing.h"

namespace ppx {
namespace {

std::string example() {
  std::ifstream in(std::filesystem::path(PPX_SOURCE_DIR) / "examples/config/paradox.toml");
  return {std::istreambuf_iterator<char>(in), {}};
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::string mutate(std::string text) {
    for (std::size_t edits = 1 + below(4); edits > 0; --edits) edit(text);
    return text;
  }

 private:
  void edit(std::string& text) {
    static constexpr std::string_view kPieces[] = {"[[",     "]]",      "=",   "\"",
                                                   "\"\"\"", "'''",     "{",   "}",
                                                   ".",      "\n",      "-",   "99999999999999999999",
                                                   "\xff",   "\\u0000", "nan", "[server]\n"};
    const std::size_t at = below(text.size());
    const std::size_t length = std::min(1 + below(20), text.size() - at);
    switch (below(4)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kPieces[below(std::size(kPieces))]);
        break;
      case 2:
        text.insert(below(text.size()), text.substr(at, length));
        break;
      default:
        text[at] = static_cast<char>(below(256));
        break;
    }
  }

  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }

  std::mt19937_64 random_;
};

TEST(ConfigMutations, AreLoadedOrRefusedWithReadableErrors) {
  const std::string good = example();
  Mutator mutator(20'231);
  int loadedCount = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string text = mutator.mutate(good);
    const LoadedConfig loaded = parseConfig(text, "paradox.toml");
    ASSERT_NE(loaded.config.has_value(), !loaded.errors.empty()) << text;
    ASSERT_LE(loaded.errors.size(), kMaxConfigErrors + 1);
    if (loaded.config) {
      ++loadedCount;
      EXPECT_FALSE(loaded.config->listeners.empty());
    }
    for (const ConfigError& error : loaded.errors) {
      const std::string line = error.text();
      EXPECT_TRUE(line.starts_with("paradox.toml:")) << line;
      EXPECT_LT(line.size(), 500U) << line;
      EXPECT_TRUE(std::none_of(line.begin(), line.end(), [](unsigned char c) {
        return c < 0x20 || c == 0x7f;
      })) << line;
    }
  }
  EXPECT_GT(loadedCount, 0);
  EXPECT_LT(loadedCount, 3000);
}

}  // namespace
}  // namespace ppx
