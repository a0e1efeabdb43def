#include "examples/common/options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace ppx::examples {
namespace {

void addExtra(CLI::App& app, const ExtraOption& extra) {
  CLI::Option* option = nullptr;
  if (auto* const* text = std::get_if<std::string*>(&extra.target)) {
    option = app.add_option("--" + extra.name, **text, extra.help);
  } else if (auto* const* flag = std::get_if<bool*>(&extra.target)) {
    app.add_flag("--" + extra.name, **flag, extra.help);
    return;
  } else {
    auto* number = std::get<std::int64_t*>(extra.target);
    option = app.add_option("--" + extra.name, *number, extra.help)
                 ->check(CLI::Range(static_cast<double>(extra.least), static_cast<double>(extra.most)));
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
  CLI::App app(purpose);
  app.add_option("--host", options.host, "address to listen on")->capture_default_str();
  app.add_option("--port", options.port, "port to listen on; 0: any free one")->capture_default_str();
  app.add_flag("--quiet", options.quiet, "no log lines on stderr");
  for (const ExtraOption& extra : extras) {
    addExtra(app, extra);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

}  // namespace ppx::examples
