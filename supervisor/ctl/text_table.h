// Rows for people: aligned columns with a heading on a terminal; on a pipe one row a line, cells separated by
// tabs, no heading.
#pragma once

#include <string>
#include <vector>

namespace ppx::ctl {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> heading) : rows_{std::move(heading)} {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string text(bool aligned) const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the heading first
};

}  // namespace ppx::ctl
