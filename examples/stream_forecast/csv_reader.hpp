// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CSV_READER_HPP
#define STREAM_FORECAST_CSV_READER_HPP

// Numbers out of a CSV stream, a row at a time and in constant memory.
//
// Accepted: a byte-order mark, LF and CRLF, a last line without either, blank lines, quoted fields
// with doubled quotes inside, spaces around numbers, any other text in columns nobody asked for. A
// quoted field must end on its line: a forgotten quote would otherwise swallow an endless stream.

#include <cstdint>
#include <istream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace stream_forecast {

/// Something is wrong with the input; `what()` says where: file, line and, where there is one,
/// column.
class InputError : public std::runtime_error {
 public:
  InputError(const std::string& file, std::uint64_t line, const std::string& problem)
      : std::runtime_error(file + ":" + std::to_string(line) + ": " + problem) {}
};

struct CsvFormat {
  char delimiter = ',';
  bool has_header = true;
};

/// The numbers of one row in the order in which the columns were asked for.
struct CsvRow {
  std::vector<double> values;
  std::uint64_t line = 0;   ///< in the file, from 1
  std::uint64_t index = 0;  ///< among all data rows, good or bad, from 0
};

/// Where a reader stands: after some row, the next byte of the input and the number of the next
/// row.
struct CsvPosition {
  std::uint64_t bytes = 0, rows = 0;
};

class CsvReader {
 public:
  /// Reads the header. `file` is the name that messages use.
  /// \throws InputError for an empty input or a malformed header
  CsvReader(std::istream& in, std::string file, CsvFormat format = {});

  /// Names of the columns; their numbers from 1 if there is no header.
  [[nodiscard]] const std::vector<std::string>& columns() const { return names_; }

  /// Asks for columns, by name or else by number from 1; an empty name is the last one. \throws
  /// InputError if there is no such column or two of that name
  void select(const std::vector<std::string>& columns);

  /// Reads the next row that is not blank. \return false at the end of the input
  /// \throws InputError for a malformed row, after which reading can go on with the next
  bool read(CsvRow& row);

  [[nodiscard]] CsvPosition position() const { return {bytes_, rows_}; }
  /// Goes on where another reader of the same input stood: skips what that had read. \throws
  /// InputError if no line of the input ends there
  void skip_to(const CsvPosition& position);
  /// Goes on with rows that follow those of another reader; the header came again before them.
  void continue_from(const CsvPosition& position) { rows_ = position.rows; }

  /// False once the input itself, not a row of it, has failed.
  [[nodiscard]] bool can_go_on() const { return !in_.bad(); }

  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] std::uint64_t line() const { return line_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_; }

  /// A longer line is an error: memory stays constant whatever arrives.
  static constexpr std::size_t longest_line = std::size_t{1} << 20;
  /// A larger number is an error: squares of numbers must stay finite.
  static constexpr double largest_number = 1e100;

 private:
  bool next_line();
  void split();
  [[nodiscard]] double number(std::size_t column) const;
  [[noreturn]] void fail(const std::string& problem) const;
  [[noreturn]] void fail_at(std::size_t column, const std::string& problem) const;

  std::istream& in_;
  std::string file_;
  CsvFormat format_;
  std::vector<std::string> names_;
  std::vector<std::size_t> selected_;
  std::string text_;                 // the current line
  std::vector<std::string> fields_;  // its fields, unquoted; only the first `field_count_` count
  std::size_t field_count_ = 0;
  std::uint64_t line_ = 0, bytes_ = 0, rows_ = 0;
  bool holds_first_row_ = false;  // without a header the first line is data already read
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_CSV_READER_HPP
