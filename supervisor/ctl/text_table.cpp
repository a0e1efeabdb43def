#include "supervisor/ctl/text_table.h"

#include <algorithm>

namespace ppx::ctl {

std::string TextTable::text(bool aligned) const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string out;
  for (size_t r = aligned ? 0 : 1; r < rows_.size(); ++r) {
    const auto& row = rows_[r];
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 == row.size()) break;
      out += aligned ? std::string(widths[i] - row[i].size() + 2, ' ') : "\t";
    }
    out += '\n';
  }
  return out;
}

}  // namespace ppx::ctl
