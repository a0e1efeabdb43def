#include "supervisor/config_reader.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <utility>

#include "supervisor/config_schema.h"
#include "supervisor/nearest_key.h"
#include "supervisor/toml_bounds.h"

namespace ppx {
namespace {

// toml++ repeats keys of the file in its messages.
constexpr std::size_t kMaxSyntaxErrorText = 200;

SourcePosition positionOf(const toml::source_region& region) {
  return {static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
}

std::string join(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
}

// A key of the file is any string; in an error it must not break the line or flood it.
std::string printableKey(std::string_view key) {
  const std::string text = quotedText(key);
  return text == '"' + std::string(key) + '"' ? std::string(key) : text;
}

std::string foundText(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return quotedText(node.as_string()->get());
    case toml::node_type::integer:
      return std::to_string(node.as_integer()->get());
    case toml::node_type::floating_point:
      return fmt::format("{}", node.as_floating_point()->get());
    case toml::node_type::boolean:
      return node.as_boolean()->get() ? "true" : "false";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::date:
      return "a date";
    case toml::node_type::time:
      return "a time of day";
    default:
      return "a date and time";
  }
}

std::optional<ConfigValue> valueOf(const ValueRule& rule, const toml::node& node) {
  if (const auto* text = node.as_string()) return valueFromText(rule, text->get());
  if (const auto* number = node.as_integer()) return valueFromInteger(rule, number->get());
  if (const auto* number = node.as_floating_point()) return valueFromFloat(rule, number->get());
  return std::nullopt;
}

// What may stand at a table's own level: its keys, and the tables inside it.
std::vector<std::string_view> namesWithin(const SectionSpec* section) {
  std::vector<std::string_view> names;
  if (section != nullptr) {
    for (const KeySpec& key : section->keys) names.push_back(key.name);
  }
  const std::string prefix = section == nullptr ? "" : std::string(section->name) + ".";
  for (const SectionSpec& other : configSections()) {
    if (!other.name.starts_with(prefix)) continue;
    const std::string_view rest = other.name.substr(prefix.size());
    if (rest.find('.') == std::string_view::npos) names.push_back(rest);
  }
  return names;
}

// A near name of this table, or the same name in another one, or else the nearest name that there is.
std::string unknownKeyText(const SectionSpec* section, std::string_view word) {
  const std::string_view here = section == nullptr ? std::string_view() : section->name;
  const NearestKey nearest = nearestKey(word, namesWithin(section));
  if (nearest.close) return fmt::format("unknown key; did you mean \"{}\"?", nearest.key);
  for (const SectionSpec& other : configSections()) {
    if (findKey(other, word) != nullptr) {
      return fmt::format("unknown key; did you mean \"{}\"?", join(other.name, word));
    }
  }
  return fmt::format("unknown key; the nearest known one is \"{}\"", join(here, nearest.key));
}

class Reader {
 public:
  explicit Reader(ReadConfig& result) : result_(result) {}

  void readRoot(const toml::table& root) {
    for (const auto& [key, node] : root) {
      const SectionSpec* section = findSection(key.str());
      if (section == nullptr || section->name.find('.') != std::string_view::npos)
        reportUnknown(nullptr, key, node);
    }
    // In the schema's order, so that [server] is the first listener.
    for (const SectionSpec& section : configSections()) {
      if (const toml::node* node = find(root, section.name)) readSection(section, *node);
    }
  }

 private:
  // By a path of plain names; null where a part is missing or is no table (which has an error of its own).
  static const toml::node* find(const toml::table& root, std::string_view path) {
    const toml::table* table = &root;
    for (auto dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
      table = table->get_as<toml::table>(path.substr(0, dot));
      if (table == nullptr) return nullptr;
      path.remove_prefix(dot + 1);
    }
    return table->get(path);
  }

  void readSection(const SectionSpec& section, const toml::node& node) {
    if (!section.list()) return readElement(section, node);
    const toml::array* list = node.as_array();
    if (list == nullptr) return reportWrongForm(section, node);
    for (std::size_t i = 0; i < list->size(); ++i) {
      if (i == section.most) return reportTooMany(section, *list->get(i));
      readElement(section, *list->get(i));
    }
  }

  void readElement(const SectionSpec& section, const toml::node& node) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return reportWrongForm(section, node);
    void* const target = section.open(result_.config);
    SectionPlace& place = result_.places.emplace_back();
    place.section = section.name;
    place.at = positionOf(node.source());
    for (const auto& [key, value] : *table) {
      if (const KeySpec* spec = findKey(section, key.str())) {
        readKey(place, *spec, value, target);
      } else if (findSection(join(section.name, key.str())) == nullptr) {
        reportUnknown(&section, key, value);
      }
    }
  }

  void readKey(SectionPlace& place, const KeySpec& key, const toml::node& node, void* target) {
    place.keys[key.name] = positionOf(node.source());
    if (const auto value = valueOf(key.rule, node)) return key.field.set(target, *value);
    place.bad.insert(key.name);
    const bool secret = key.rule.kind == ValueKind::kToken && node.is_string();
    std::string message = fmt::format("expected {}, found {}", expectation(key.rule),
                                      secret ? "a string that is not shown" : foundText(node));
    if (const auto* word = node.as_string(); word != nullptr && key.rule.kind == ValueKind::kChoice) {
      const auto choices = std::vector(key.rule.choices.begin(), key.rule.choices.end());
      if (const NearestKey nearest = nearestKey(word->get(), choices); nearest.close) {
        message += fmt::format("; did you mean \"{}\"?", nearest.key);
      }
    }
    result_.report(place, key.name, std::move(message));
  }

  void reportUnknown(const SectionSpec* section, const toml::key& key, const toml::node& node) {
    // A table's own place is its header; a value's is its key.
    const toml::array* list = node.as_array();
    const bool header =
        node.is_table() || (list != nullptr && !list->empty() && list->is_homogeneous<toml::table>());
    const toml::node& start = list != nullptr && header ? *list->get(0) : node;
    const SourcePosition at = positionOf(header ? start.source() : key.source());
    const std::string_view inside = section == nullptr ? std::string_view() : section->name;
    result_.errors.push_back({result_.file, at.line, at.column, join(inside, printableKey(key.str())),
                              unknownKeyText(section, key.str())});
  }

  void reportWrongForm(const SectionSpec& section, const toml::node& node) {
    const std::string expected = section.list() ? fmt::format("tables [[{}]]", section.name)
                                                : fmt::format("one table [{}]", section.name);
    reportSection(section, node, fmt::format("expected {}, found {}", expected, foundText(node)));
  }

  void reportTooMany(const SectionSpec& section, const toml::node& node) {
    reportSection(section, node, fmt::format("expected at most {} [[{}]]", section.most, section.name));
  }

  void reportSection(const SectionSpec& section, const toml::node& node, std::string message) {
    const SourcePosition at = positionOf(node.source());
    result_.errors.push_back(
        {result_.file, at.line, at.column, std::string(section.name), std::move(message)});
  }

  ReadConfig& result_;
};

}  // namespace

SourcePosition SectionPlace::position(std::string_view key) const {
  const auto found = keys.find(key);
  return found == keys.end() ? at : found->second;
}

const SectionPlace& ReadConfig::place(std::string_view section, std::size_t index) const {
  static const SectionPlace kNowhere;
  for (const SectionPlace& candidate : places) {
    if (candidate.section == section && index-- == 0) return candidate;
  }
  return kNowhere;
}

const SectionPlace& ReadConfig::listenerPlace(std::size_t index) const {
  const SectionPlace& server = place("server");
  if (server.section.empty()) return place("listener", index);
  return index == 0 ? server : place("listener", index - 1);
}

void ReadConfig::report(const SectionPlace& where, std::string_view key, std::string message) {
  const SourcePosition at = where.position(key);
  errors.push_back({file, at.line, at.column, join(where.section, key), std::move(message)});
}

ReadConfig readConfig(std::string_view text, std::string fileName) {
  ReadConfig result;
  result.file = std::move(fileName);
  if (TomlBoundsError error = checkTomlBounds(text); error.line > 0) {
    result.syntaxError = true;
    result.errors.push_back({result.file, error.line, error.column, "", std::move(error.message)});
    return result;
  }
  try {
    const toml::table root = toml::parse(text);
    Reader(result).readRoot(root);
  } catch (const toml::parse_error& error) {
    const SourcePosition at = positionOf(error.source());
    result.syntaxError = true;
    result.errors.push_back({result.file, at.line, at.column, "",
                             "not TOML: " + printableText(error.description(), kMaxSyntaxErrorText)});
  }
  return result;
}

}  // namespace ppx
