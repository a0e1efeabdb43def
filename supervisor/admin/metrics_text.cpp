#include "supervisor/admin/metrics_text.h"

#include <fmt/format.h>

namespace ppx {
namespace {

std::string escaped(const std::string& value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

}  // namespace

void MetricsText::family(const std::string& name, const std::string& help, const char* type) {
  name_ = name;
  text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void MetricsText::sample(double value, const Labels& labels) {
  line(fmt::format("{}", value), labels);
}
void MetricsText::sample(uint64_t value, const Labels& labels) {
  line(std::to_string(value), labels);
}

void MetricsText::buckets(std::span<const double> bounds, std::span<const uint64_t> counts, double sum) {
  uint64_t all = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    all += counts[i];
    line(std::to_string(all), {{"le", i < bounds.size() ? fmt::format("{}", bounds[i]) : "+Inf"}}, "_bucket");
  }
  line(fmt::format("{}", sum), {}, "_sum");
  line(std::to_string(all), {}, "_count");
}

void MetricsText::line(const std::string& value, const Labels& labels, const char* suffix) {
  text_ += name_ + suffix;
  for (size_t i = 0; i < labels.size(); ++i)
    text_ += (i == 0 ? "{" : ",") + labels[i].first + "=\"" + escaped(labels[i].second) + "\"";
  text_ += (labels.empty() ? " " : "} ") + value + "\n";
}

}  // namespace ppx
