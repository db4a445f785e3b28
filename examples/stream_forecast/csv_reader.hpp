// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CSV_READER_HPP
#define STREAM_FORECAST_CSV_READER_HPP

// Numbers out of a CSV stream, a row at a time and in constant memory.
//
// Accepted: a byte-order mark, LF and CRLF, a last line without either, a final ^Z, blank lines,
// quoted fields with doubled quotes and line ends inside, spaces around numbers, any other text in
// columns nobody asked for. A forgotten quote must not swallow an endless stream: a quoted field
// ends within a hundred lines, none of which, before the last, is a good row by itself.

#include <cstdint>
#include <istream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "csv_fields.hpp"
#include "csv_number.hpp"
#include "text_lines.hpp"

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
  /// Without a header: the number of columns if that is known. Otherwise it is that of the first
  /// row, or, if rows may be bad, that of most of the first hundred.
  std::size_t columns = 0;
  bool skip_bad_rows = false;
};

/// The numbers and texts of one row in the order in which the columns were asked for.
struct CsvRow {
  std::vector<double> values;
  std::vector<std::string> texts;  ///< without spaces around them; may be empty
  std::uint64_t line = 0;          ///< its first in the file, from 1
  std::uint64_t index = 0;         ///< among all data rows, good or bad, from 0
};

/// Where a reader stands: after some row, the next byte of the input and the number of the next
/// row.
struct CsvPosition {
  std::uint64_t bytes = 0, rows = 0;
};

class CsvReader {
 public:
  /// Reads the header. `file` is the name that messages use.
  /// \throws InputError for an empty input, a malformed header, or text that is not UTF-8
  CsvReader(std::istream& in, std::string file, CsvFormat format = {});

  /// Names of the columns; their numbers from 1 if there is no header.
  [[nodiscard]] const std::vector<std::string>& columns() const { return names_; }

  /// Asks for columns of numbers, and of text, by name or else by number from 1; an empty name is
  /// the last one. \throws InputError if there is no such column or two of that name
  void select(const std::vector<std::string>& columns, const std::vector<std::string>& texts = {});

  /// Reads the next row that is not blank. \return false at the end of the input
  /// \throws InputError for a malformed row, after which reading can go on with the next
  bool read(CsvRow& row);

  /// The text of the last row that was read, good or bad, and whether it had its end: the last of
  /// an input may be half a row.
  [[nodiscard]] const std::string& row_text() const { return text_; }
  [[nodiscard]] bool row_is_whole() const { return whole_; }

  [[nodiscard]] CsvPosition position() const { return {bytes_, rows_}; }
  /// Goes on where another reader of the same input stood: skips what that had read. \throws
  /// InputError if no line of the input ends there
  void skip_to(const CsvPosition& position);
  /// Goes on with rows that follow those of another reader; the header came again before them. If
  /// that reader's last row had no end, `unfinished` is its text: the first row here replaces it if
  /// it begins like it, else it was whole and comes first.
  void continue_from(const CsvPosition& position, const std::string& unfinished = {});

  /// False once the input itself, not a row of it, has failed.
  [[nodiscard]] bool can_go_on() const { return !failed_; }

  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] std::uint64_t line() const { return line_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_; }

  /// A longer line is an error: memory stays constant whatever arrives.
  static constexpr std::size_t longest_line = TextLines::longest;
  /// A quoted field that spans more lines is an error.
  static constexpr std::size_t most_lines = 100;
  static constexpr double largest_number = stream_forecast::largest_number;

 private:
  [[nodiscard]] bool is_blank(const std::string& text) const;
  const TextLine* next_line_not_blank();
  [[nodiscard]] bool next_row();
  std::size_t look_at_row(std::size_t others);
  [[nodiscard]] std::size_t join_lines(std::size_t others);
  [[nodiscard]] bool is_good_row(const std::string& text);
  [[nodiscard]] std::size_t usual_columns();
  [[nodiscard]] std::size_t column_of(const std::string& wanted) const;
  void pass_line();
  void require_fields() const;
  [[noreturn]] void fail(const std::string& problem) const;
  [[noreturn]] void fail_at(std::size_t column, const std::string& problem,
                            std::string_view cell = {}) const;
  [[noreturn]] void fail_reading();

  TextLines lines_;
  const std::istream& in_;
  std::string file_;
  CsvFormat format_;
  std::string first_line_;
  std::vector<std::string> names_;
  std::vector<std::size_t> selected_, text_columns_;
  std::string text_;  // the current row
  CsvFields fields_, other_fields_;
  FieldFault fault_ = FieldFault::none;
  bool whole_ = true, too_long_ = false, failed_ = false;
  std::uint64_t line_ = 0, bytes_ = 0, rows_ = 0;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_CSV_READER_HPP
