// TOML text -> values and the places they came from. The only file that pays for toml++'s header.
//
// Internal to the loader: reads each key by the schema's rules, reports what is unknown or of the wrong form,
// and leaves what concerns several keys to supervisor/config_checks.h.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/config.h"
#include "supervisor/config_loader.h"

namespace ppx {

struct SourcePosition {
  int line = 0;
  int column = 0;
};

// One table of the file: where it is, and where the values of its keys are.
struct SectionPlace {
  std::string_view section;  // the schema's name
  SourcePosition at;
  std::map<std::string_view, SourcePosition> keys;  // the known ones, good or bad
  std::set<std::string_view> bad;                   // those that got an error; their members hold the default

  bool has(std::string_view key) const { return keys.contains(key); }
  // Of the key, or of the section if the file does not have it.
  SourcePosition position(std::string_view key) const;
};

struct ReadConfig {
  std::string file;
  Config config;                     // as written: nothing inherited, no implicit pool or listener
  std::vector<SectionPlace> places;  // by section in the schema's order, those of a list in the file's
  std::vector<ConfigError> errors;   // in no order
  bool syntaxError = false;          // nothing else was read

  // The index-th place of a section, or an empty one.
  const SectionPlace& place(std::string_view section, std::size_t index = 0) const;
  // The place of config.listeners[index]: [server] comes first.
  const SectionPlace& listenerPlace(std::size_t index) const;
  void report(const SectionPlace& where, std::string_view key, std::string message);
};

ReadConfig readConfig(std::string_view text, std::string fileName);

}  // namespace ppx
