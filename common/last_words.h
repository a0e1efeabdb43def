// Why a process ended itself, for its obituary: one line in a file of its own in the runtime directory, which outlives
// the process and whoever was to read its stderr. Nothing is written before the end, and never more than kMaxLastWords.
//
// A killed process has no last words. Those of a library that aborts by itself are in the log alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ppx {

inline constexpr size_t kMaxLastWords = 512;
inline constexpr char kLastWordsPrefix[] = "last-words.";

// In the runtime directory.
std::string lastWordsName(uint8_t row, uint64_t incarnation);

// From here on leaveLastWords() writes to that file, and an exception that nobody catches leaves its text there. Once or
// again, before other threads run.
void keepLastWordsIn(const std::string& file);
// The first of a process stand. Any thread, also on the way into abort(): no memory is taken, nothing waits.
void leaveLastWords(std::string_view words) noexcept;

}  // namespace ppx
