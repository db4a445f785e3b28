// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_TEXT_LINES_HPP
#define STREAM_FORECAST_TEXT_LINES_HPP

#include <cstdint>
#include <deque>
#include <istream>
#include <string>
#include <utility>

namespace stream_forecast {

/// A line of the input, without what ends it.
struct TextLine {
  std::string text;
  std::uint64_t number = 0;  ///< from 1
  std::uint64_t end = 0;     ///< the input's next byte after the line
  bool whole = true;         ///< false if the input ended before the line did
  bool too_long = false;     ///< then `text` is only its first few thousand bytes
};

/// The lines of a stream, and those to come.
///
/// A line ends in LF or CRLF. A byte-order mark before the first line is no part of it. In the last
/// line a ^Z (0x1A) ends the text, as on DOS.
class TextLines {
 public:
  /// A longer line is cut, so that memory stays constant whatever arrives.
  static constexpr std::size_t longest = std::size_t{1} << 20;

  explicit TextLines(std::istream& in) : in_(in) {}

  /// The line after so many others, which is read now if it must be; nullptr behind the last.
  [[nodiscard]] const TextLine* ahead(std::size_t others = 0) {
    while (lines_.size() <= others) {
      if (!fetch()) return nullptr;
    }
    return &lines_[others];
  }

  /// Passes the next line, which `ahead` has seen.
  void pass() { lines_.pop_front(); }

  /// Puts a line before the next one.
  void insert(TextLine line) { lines_.push_front(std::move(line)); }

 private:
  static constexpr int end_of_input = std::char_traits<char>::eof();

  /// A read error sets the stream's bad bit, and is the end of the lines.
  bool fetch() {
    try {
      return in_.good() && read_line();
    } catch (const std::ios_base::failure&) {  // what the standard library makes of a read error
      in_.setstate(std::ios::badbit);
      return false;
    }
  }

  bool read_line() {
    TextLine line;
    std::streambuf& bytes = *in_.rdbuf();
    const std::uint64_t begin = bytes_;
    for (;;) {
      const int c = bytes.sbumpc();
      if (c == end_of_input) {
        in_.setstate(std::ios::eofbit);
        line.whole = false;
        break;
      }
      ++bytes_;
      if (c == '\n') break;
      line.too_long = line.too_long || line.text.size() == longest;
      if (!line.too_long) line.text += static_cast<char>(c);
    }
    if (bytes_ == begin) return false;
    if (line.too_long) line.text = line.text.substr(0, 4096);
    line.number = ++number_;
    line.end = bytes_;
    if (line.number == 1 && line.text.starts_with("\xEF\xBB\xBF")) line.text.erase(0, 3);
    // Only a line with ^Z must wait for what follows.
    const std::size_t dos_end = line.text.find('\x1A');
    if (dos_end != std::string::npos && (!line.whole || bytes.sgetc() == end_of_input)) {
      line.text.erase(dos_end);
    }
    while (!line.too_long && line.text.ends_with('\r')) line.text.pop_back();
    lines_.push_back(std::move(line));
    return true;
  }

  std::istream& in_;
  std::deque<TextLine> lines_;
  std::uint64_t number_ = 0, bytes_ = 0;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_TEXT_LINES_HPP
