// SPDX-License-Identifier: MIT
#include "csv_reader.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "csv_hints.hpp"
#include "shown.hpp"

namespace stream_forecast {

CsvReader::CsvReader(std::istream& in, std::string file, CsvFormat format)
    : lines_(in), in_(in), file_(std::move(file)), format_(format) {
  const TextLine* const first = next_line_not_blank();
  if (first == nullptr) {
    if (in_.bad()) fail_reading();
    line_ = std::max<std::uint64_t>(line_, 1);
    fail("the input is empty");
  }
  first_line_ = first->text;
  if (format_.has_header) {
    (void)next_row();
    require_fields();
    for (std::size_t i = 0; i < fields_.size(); ++i) names_.emplace_back(trimmed(fields_[i]));
  } else {
    const std::size_t columns = format_.columns > 0 ? format_.columns : usual_columns();
    for (std::size_t i = 1; i <= columns; ++i) names_.push_back(std::to_string(i));
  }
}

void CsvReader::select(const std::vector<std::string>& columns,
                       const std::vector<std::string>& texts) {
  selected_.clear();
  text_columns_.clear();
  for (const std::string& wanted : columns) selected_.push_back(column_of(wanted));
  for (const std::string& wanted : texts) text_columns_.push_back(column_of(wanted));
}

std::size_t CsvReader::column_of(const std::string& wanted) const {
  if (wanted.empty()) return names_.size() - 1;
  const auto matches = std::count(names_.begin(), names_.end(), wanted);
  if (matches > 1) fail("more than one column is called " + shown(wanted));
  if (matches == 1) {
    const auto found = std::find(names_.begin(), names_.end(), wanted);
    return static_cast<std::size_t>(found - names_.begin());
  }
  std::size_t position = 0;
  const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), position);
  if (error == std::errc{} && end == wanted.data() + wanted.size() && position >= 1 &&
      position <= names_.size()) {
    return position - 1;
  }
  fail("there is no column " + shown(wanted) + "; the columns are " + shown(names_) +
       delimiter_hint(first_line_, first_line_, {}, format_.delimiter));
}

bool CsvReader::read(CsvRow& row) {
  if (!next_row()) return false;
  row.line = line_;
  row.index = rows_++;
  require_fields();
  if (fields_.size() != names_.size()) {
    const std::size_t there = fields_.size(), wanted = names_.size();
    fail_at(std::min(there, wanted),
            "the row has " + std::to_string(there) + (there == 1 ? " field, " : " fields, ") +
                std::to_string(wanted) + (wanted == 1 ? " is expected" : " are expected"));
  }
  row.values.resize(selected_.size());
  for (std::size_t i = 0; i < selected_.size(); ++i) {
    const std::string& cell = fields_[selected_[i]];
    const std::string problem = parse_number(cell, row.values[i]);
    if (!problem.empty()) fail_at(selected_[i], problem, cell);
  }
  row.texts.resize(text_columns_.size());
  for (std::size_t i = 0; i < text_columns_.size(); ++i) {
    row.texts[i] = trimmed(fields_[text_columns_[i]]);
  }
  return true;
}

void CsvReader::skip_to(const CsvPosition& position) {
  while (lines_.ahead() != nullptr && lines_.ahead()->end <= position.bytes) pass_line();
  if (bytes_ != position.bytes) {
    if (in_.bad()) fail_reading();
    if (bytes_ < position.bytes && lines_.ahead() != nullptr) pass_line();
    fail("no line ends at byte " + std::to_string(position.bytes) +
         ", where the checkpoint left the input: it is another one");
  }
  rows_ = position.rows;
}

void CsvReader::continue_from(const CsvPosition& position, const std::string& unfinished) {
  rows_ = position.rows;
  if (is_blank(unfinished)) return;
  const TextLine* const next = next_line_not_blank();
  // Of a quoted field with line ends inside, the first line will do.
  if (next != nullptr && next->text.starts_with(unfinished.substr(0, unfinished.find('\n'))))
    return;
  lines_.insert({.text = unfinished, .number = line_, .end = bytes_, .whole = next != nullptr});
}

/// Whether a line is no row. Between tabs or spaces a row of empty cells is nothing but those.
bool CsvReader::is_blank(const std::string& text) const {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (is_space(c) || c == '\x1A') && c != format_.delimiter;
  });
}

void CsvReader::pass_line() {
  const TextLine& line = *lines_.ahead();
  line_ = line.number;
  bytes_ = line.end;
  lines_.pass();
}

/// Passes blank lines. \return the next other one, not yet passed; nullptr at the end
const TextLine* CsvReader::next_line_not_blank() {
  for (;;) {
    const TextLine* const line = lines_.ahead();
    if (line == nullptr) return nullptr;
    if (line->number == 1) {
      const std::string encoding = wide_encoding(line->text.substr(0, 4));
      if (encoding == "UTF-16" || encoding == "UTF-32") {
        line_ = 1;
        fail("the input is " + encoding + ", not UTF-8; " + encoding_advice(encoding));
      }
    }
    if (line->too_long || !is_blank(line->text)) return line;
    pass_line();
  }
}

/// Takes the next row's text and fields, right or wrong. \return false at the end of the input
bool CsvReader::next_row() {
  const TextLine* const line = next_line_not_blank();
  if (line == nullptr) {
    if (in_.bad()) fail_reading();
    return false;
  }
  const std::uint64_t number = line->number;
  for (std::size_t lines = look_at_row(0); lines > 0; --lines) pass_line();
  line_ = number;
  return true;
}

/// Takes the text and the fields, right or wrong, of the row that begins after so many other lines,
/// none of which it passes. \return the row's lines
std::size_t CsvReader::look_at_row(std::size_t others) {
  const TextLine& line = *lines_.ahead(others);
  text_ = line.text;
  whole_ = line.whole;
  too_long_ = line.too_long;
  fault_ = too_long_ ? FieldFault::none : fields_.split(text_, format_.delimiter);
  return fault_ == FieldFault::open_quote ? join_lines(others) : 1;
}

/// Looks for the end of a quoted field on the lines after its first. \return the row's lines: one,
/// and the row is at fault, if the quote seems to be forgotten
std::size_t CsvReader::join_lines(std::size_t others) {
  std::string joined = text_;
  std::size_t lines = 1;
  for (; lines < most_lines; ++lines) {
    const TextLine* const line = lines_.ahead(others + lines);
    if (line == nullptr) {  // it may end in what is yet to be written
      text_ = std::move(joined);
      whole_ = false;
      return lines;
    }
    if (line->too_long || joined.size() + line->text.size() >= longest_line) break;
    joined += '\n' + line->text;
    const FieldFault fault = other_fields_.split(joined, format_.delimiter);
    if (fault == FieldFault::open_quote && !is_good_row(line->text)) continue;
    if (fault != FieldFault::none) break;
    whole_ = line->whole;
    text_ = std::move(joined);
    fault_ = fields_.split(text_, format_.delimiter);
    return lines + 1;
  }
  return 1;
}

bool CsvReader::is_good_row(const std::string& text) {
  double ignored = 0;
  return other_fields_.split(text, format_.delimiter) == FieldFault::none && !names_.empty() &&
         other_fields_.size() == names_.size() &&
         std::all_of(selected_.begin(), selected_.end(), [&](std::size_t column) {
           return parse_number(other_fields_[column], ignored).empty();
         });
}

/// The number of columns where no header says it.
std::size_t CsvReader::usual_columns() {
  const std::size_t sample = format_.skip_bad_rows ? 100 : 1;
  constexpr std::size_t cost_of_line = 64;  // beside its text: memory stays constant here, too
  std::map<std::size_t, std::size_t> frequencies;  // of numbers of fields
  std::size_t most = 0, rows = 0, bytes = 0, at = 0;
  while (rows < sample && most <= sample / 2 && bytes < longest_line) {
    const TextLine* const line = lines_.ahead(at);
    if (line == nullptr) break;
    if (!line->too_long && is_blank(line->text)) {
      bytes += line->text.size() + cost_of_line;
      ++at;
      continue;
    }
    const std::size_t lines = look_at_row(at);
    const bool is_row = fault_ == FieldFault::none && !too_long_;
    if (is_row) {
      ++rows;
      most = std::max(most, ++frequencies[fields_.size()]);
    } else if (!format_.skip_bad_rows) {
      break;
    }
    bytes += (is_row ? text_.size() : line->text.size()) + cost_of_line;
    at += is_row ? lines : 1;
  }
  std::size_t columns = 0;  // of two that are as frequent, the larger: rows are cut, not grown
  for (const auto& [fields, frequency] : frequencies) {
    if (frequency == most) columns = fields;
  }
  if (columns > 0) return columns;
  (void)look_at_row(0);
  line_ = lines_.ahead()->number;
  require_fields();
  return fields_.size();
}

/// \throws InputError if the current row cannot be taken apart
void CsvReader::require_fields() const {
  if (format_.has_header && names_.empty()) {
    const std::string encoding = wide_encoding(text_);
    if (!encoding.empty()) {
      fail("the header has NUL bytes; if the input is " + encoding + ", " +
           encoding_advice(encoding));
    }
  }
  if (too_long_) {
    fail("the line is longer than " + std::to_string(longest_line) + " bytes" +
         carriage_return_hint(text_));
  }
  const std::size_t last = std::max<std::size_t>(fields_.size(), 1) - 1;
  switch (fault_) {
    case FieldFault::none:
      return;
    case FieldFault::open_quote:
      fail_at(last, "the quoted field does not end on its line, nor soon after it");
    case FieldFault::text_after_quote:
      fail_at(last, "text follows the closing quote");
    case FieldFault::carriage_return:
      fail_at(last, "a carriage return stands outside quotes");
  }
}

void CsvReader::fail(const std::string& problem) const {
  throw InputError(file_, line_, problem);
}

/// Says what is wrong with the current row, and what may be the reason.
void CsvReader::fail_at(std::size_t column, const std::string& problem,
                        std::string_view cell) const {
  std::string where = "column " + std::to_string(column + 1);
  if (format_.has_header && column < names_.size()) where += " (" + shown(names_[column]) + ")";
  std::string hint = carriage_return_hint(text_);
  if (hint.empty()) hint = nul_hint(text_);
  if (hint.empty()) hint = delimiter_hint(first_line_, text_, cell, format_.delimiter);
  if (hint.empty() && !whole_) hint = "; the input ends within this row, without a line end";
  fail(where + ": " + problem + hint);
}

void CsvReader::fail_reading() {
  failed_ = true;
  fail("reading failed");
}

}  // namespace stream_forecast
