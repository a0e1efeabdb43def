// One table of everything that the configuration file may say.
//
// The reader, the defaults, the error messages, docs/CONFIGURATION.md (through a test) and the annotated
// example all come from it: a new key is a member in supervisor/config.h and a row here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "supervisor/config.h"
#include "supervisor/config_value.h"

namespace ppx {

// How a key's member is written and read; the pointer is to the struct of the key's section.
struct ConfigField {
  void (*set)(void* section, const ConfigValue& value);
  ConfigValue (*get)(const void* section);
};

struct KeySpec {
  std::string_view name;
  ConfigField field;
  ValueRule rule;
  std::string_view help;
  std::string_view defaultNote{};  // stands for the default where that depends on another key
};

struct SectionSpec {
  std::string_view name;  // "sessions"; a dot leads to a table inside another one
  std::size_t most = 1;   // above 1 it is a list, written [[name]] up to so many times
  std::span<const KeySpec> keys;
  // The struct to write to: of a list, a new element.
  void* (*open)(Config& config);

  bool list() const { return most > 1; }
};

// Every section in the order of the documentation; a table inside another one follows it.
std::span<const SectionSpec> configSections();

// By full name; null if there is none.
const SectionSpec* findSection(std::string_view name);
const KeySpec* findKey(const SectionSpec& section, std::string_view name);

// What the key is when the file does not say: the note, or the value of a default-constructed struct.
std::string defaultText(const SectionSpec& section, const KeySpec& key);

// "time, 0 to 365d", or the words of a choice in backticks: what the documentation says that a key may be.
std::string kindText(const ValueRule& rule);

}  // namespace ppx
