// config_manual TEMPLATE: prints the manual page of the configuration file. The template is a page in the words of
// man(7); where a line of it says "{keys SECTION}", the keys of that section follow, from the schema.
//
// Runs while the tree is built, so the page cannot say anything else than the schema does. A section that the
// template forgets, or names wrongly, ends the build.
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <optional>
#include <set>
#include <stdexcept>

#include "supervisor/config_schema.h"

namespace {

using namespace ppx;

constexpr std::string_view kMarkStart = "{keys ";
constexpr std::string_view kMarkEnd = "}";

// Text of the documentation as troff has it: `words` are bold, a backslash is itself, a hyphen may be copied.
std::string troff(std::string_view text) {
  std::string out;
  bool bold = false;
  for (const char each : text) {
    if (each == '`') {
      bold = !bold;
      out += bold ? "\\fB" : "\\fR";
    } else if (each == '\\') {
      out += "\\e";
    } else if (each == '-') {
      out += "\\-";
    } else {
      out += each;
    }
  }
  return out;
}

std::string asSentence(std::string text) {
  if (!text.empty() && text.front() >= 'a' && text.front() <= 'z') text.front() -= 'a' - 'A';
  return text + ".";
}

void printKeys(const SectionSpec& section) {
  for (const KeySpec& key : section.keys) {
    const std::string value = defaultText(section, key);
    const std::string standard = key.defaultNote.empty() ? fmt::format("`{}`", value) : value;
    fmt::print(".TP\n{}\n{}\n.br\n{}\n", troff(fmt::format("`{}` = {}", key.name, kindText(key.rule))),
               troff(asSentence(std::string(key.help))), troff(fmt::format("Default: {}.", standard)));
  }
}

std::optional<std::string> sectionMarkedBy(std::string_view line) {
  if (!line.starts_with(kMarkStart) || !line.ends_with(kMarkEnd)) return std::nullopt;
  line.remove_prefix(kMarkStart.size());
  line.remove_suffix(kMarkEnd.size());
  return std::string(line);
}

void printPage(std::istream& page) {
  std::set<std::string_view> done;
  for (std::string line; std::getline(page, line);) {
    const auto name = sectionMarkedBy(line);
    if (!name) {
      fmt::print("{}\n", line);
      continue;
    }
    const SectionSpec* section = findSection(*name);
    if (section == nullptr) throw std::runtime_error("the schema has no section " + *name);
    printKeys(*section);
    done.insert(section->name);
  }
  for (const SectionSpec& section : configSections())
    if (!done.contains(section.name))
      throw std::runtime_error(fmt::format("the keys of {} are missing", section.name));
}

}  // namespace

int main(int argc, char** argv) {
  std::ifstream page(argc == 2 ? argv[1] : "");
  if (!page) {
    std::cerr << "usage: config_manual TEMPLATE\n";
    return 64;
  }
  try {
    printPage(page);
  } catch (const std::exception& error) {
    std::cerr << argv[1] << ": " << error.what() << "\n";
    return 1;
  }
  return 0;
}
