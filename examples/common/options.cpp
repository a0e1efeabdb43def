#include "examples/common/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdlib>
#include <filesystem>

namespace ppx::examples {
namespace {

constexpr int kUsage = 2;  // as Python's argparse and paradoxctl have it

CLI::Validator within(std::int64_t least, std::int64_t most) {
  if (most < INT64_MAX) return CLI::Range(least, most);
  return CLI::Validator(
      [least](std::string& text) {
        std::int64_t number = 0;
        const char* end = text.data() + text.size();
        const auto [stopped, wrong] = std::from_chars(text.data(), end, number);
        if (wrong == std::errc() && stopped == end && number >= least) return std::string();
        return fmt::format("expected a whole number from {} on, found {}", least, text);
      },
      fmt::format("{} or more", least));
}

void addExtra(CLI::App& app, const ExtraOption& extra) {
  CLI::Option* option = nullptr;
  if (auto* const* text = std::get_if<std::string*>(&extra.target)) {
    option = app.add_option("--" + extra.name, **text, extra.help);
  } else if (auto* const* flag = std::get_if<bool*>(&extra.target)) {
    app.add_flag("--" + extra.name, **flag, extra.help);
    return;
  } else {
    auto* number = std::get<std::int64_t*>(extra.target);
    option = app.add_option("--" + extra.name, *number, extra.help)->check(within(extra.least, extra.most));
  }
  if (extra.required) {
    option->required();
  } else {
    option->capture_default_str();
  }
}

}  // namespace

WorkerOptions parseOptions(int argc, char** argv, const std::string& purpose,
                           const std::vector<ExtraOption>& extras) {
  WorkerOptions options;
  CLI::App app(purpose, std::filesystem::path(argv[0]).filename().string());
  app.add_option("--host", options.host, "address to listen on")->capture_default_str();
  app.add_option("--port", options.port, "port to listen on; 0: any free one")->capture_default_str();
  app.add_flag("--quiet", options.quiet, "no log lines on stderr");
  for (const ExtraOption& extra : extras) {
    addExtra(app, extra);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : kUsage);
  }
  return options;
}

}  // namespace ppx::examples
