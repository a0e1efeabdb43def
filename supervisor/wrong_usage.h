// What a program says of a command line that it does not understand.
#pragma once

#include <CLI/CLI.hpp>

namespace ppx {

// Tells the person on stderr (or gives the help or the version that was asked for, on stdout). True: the command line was
// wrong. CLI11 names what is missing before what it does not know, and a misspelt word is both: then that word is named.
inline bool tellWrongUsage(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  const bool misses = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  return (misses && !unknown.empty() ? app.exit(CLI::ExtrasError(unknown)) : app.exit(error)) != 0;
}

}  // namespace ppx
