// Text in Prometheus' exposition format 0.0.4. Pure: families in the order of their opening.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ppx {

class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // All samples of a family follow its opening.
  void counter(const std::string& name, const std::string& help) { family(name, help, "counter"); }
  void histogram(const std::string& name, const std::string& help) { family(name, help, "histogram"); }
  void gauge(const std::string& name, const std::string& help) { family(name, help, "gauge"); }
  // One of the family's own, a histogram's excepted.
  void sample(double value, const Labels& labels = {});
  void sample(uint64_t value, const Labels& labels = {});

  // Of a histogram: so many in each interval up to its bound, the last one beyond all bounds.
  void buckets(std::span<const double> bounds, std::span<const uint64_t> counts, double sum);

  std::string take() { return std::move(text_); }

 private:
  void family(const std::string& name, const std::string& help, const char* type);
  void line(const std::string& value, const Labels& labels, const char* suffix = "");

  std::string name_;
  std::string text_;
};

}  // namespace ppx
