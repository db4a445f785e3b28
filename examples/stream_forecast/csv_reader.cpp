// SPDX-License-Identifier: MIT
#include "csv_reader.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace stream_forecast {

namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// Text from outside, fit for a terminal: short and without control characters.
std::string shown(std::string_view text) {
  constexpr std::size_t longest = 40;
  std::string result = "'";
  for (char c : text.substr(0, longest)) {
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return result + (text.size() > longest ? "...'" : "'");
}

}  // namespace

CsvReader::CsvReader(std::istream& in, std::string file, CsvFormat format)
    : in_(in), file_(std::move(file)), format_(format) {
  do {
    if (!next_line()) {
      line_ = std::max<std::uint64_t>(line_, 1);
      fail("the input is empty");
    }
  } while (trimmed(text_).empty());
  split();
  for (std::size_t i = 0; i < field_count_; ++i) {
    names_.push_back(format_.has_header ? std::string(trimmed(fields_[i])) : std::to_string(i + 1));
  }
  holds_first_row_ = !format_.has_header;
}

void CsvReader::select(const std::vector<std::string>& columns) {
  selected_.clear();
  for (const std::string& wanted : columns) {
    if (wanted.empty()) {
      selected_.push_back(names_.size() - 1);
      continue;
    }
    const auto matches = std::count(names_.begin(), names_.end(), wanted);
    if (matches > 1) fail("more than one column is called " + shown(wanted));
    if (matches == 1) {
      const auto found = std::find(names_.begin(), names_.end(), wanted);
      selected_.push_back(static_cast<std::size_t>(found - names_.begin()));
      continue;
    }
    std::size_t position = 0;
    const auto [end, error] =
        std::from_chars(wanted.data(), wanted.data() + wanted.size(), position);
    if (error == std::errc{} && end == wanted.data() + wanted.size() && position >= 1 &&
        position <= names_.size()) {
      selected_.push_back(position - 1);
      continue;
    }
    std::string known;
    for (const std::string& name : names_) known += (known.empty() ? "" : ", ") + shown(name);
    fail("there is no column " + shown(wanted) + "; the columns are " + known);
  }
}

bool CsvReader::read(CsvRow& row) {
  if (holds_first_row_) {
    holds_first_row_ = false;
  } else {
    do {
      if (!next_line()) return false;
    } while (trimmed(text_).empty());
  }
  row.line = line_;
  row.index = rows_++;
  split();
  if (field_count_ != names_.size()) {
    fail_at(std::min(field_count_, names_.size()), "the row has " + std::to_string(field_count_) +
                                                       (field_count_ == 1 ? " field" : " fields") +
                                                       ", " + std::to_string(names_.size()) +
                                                       " are expected");
  }
  row.values.resize(selected_.size());
  for (std::size_t i = 0; i < selected_.size(); ++i) row.values[i] = number(selected_[i]);
  return true;
}

void CsvReader::skip_to(const CsvPosition& position) {
  bool ended = false;
  while (bytes_ < position.bytes && !ended) {
    try {
      ended = !next_line();
    } catch (const InputError&) {  // a line too long had been skipped before, too
      if (!can_go_on()) throw;
    }
  }
  if (bytes_ != position.bytes) {
    fail("no line ends at byte " + std::to_string(position.bytes) +
         ", where the checkpoint left the input: it is another one");
  }
  rows_ = position.rows;
  holds_first_row_ = false;
}

bool CsvReader::next_line() {
  text_.clear();
  std::streambuf* const buffer = in_.rdbuf();
  bool any = false, too_long = false;
  constexpr int end_of_input = std::char_traits<char>::eof();
  const auto next_byte = [&] {
    try {
      return buffer->sbumpc();
    } catch (const std::ios_base::failure&) {  // what the standard library makes of a read error
      in_.setstate(std::ios::badbit);
      fail("reading failed");
    }
  };
  for (int c = next_byte();; c = next_byte()) {
    if (c == end_of_input) {
      in_.setstate(std::ios::eofbit);
      break;
    }
    any = true;
    ++bytes_;
    if (c == '\n') break;
    too_long = too_long || text_.size() == longest_line;
    if (!too_long) text_ += static_cast<char>(c);
  }
  if (!any) return false;
  ++line_;
  if (line_ == 1 && text_.starts_with("\xEF\xBB\xBF")) text_.erase(0, 3);
  if (!text_.empty() && text_.back() == '\r') text_.pop_back();
  if (too_long) {
    ++rows_;
    fail("the line is longer than " + std::to_string(longest_line) + " bytes");
  }
  return true;
}

void CsvReader::split() {
  field_count_ = 0;
  std::size_t at = 0;
  do {
    if (fields_.size() == field_count_) fields_.emplace_back();
    std::string& field = fields_[field_count_];
    field.clear();
    std::size_t start = at;
    while (start < text_.size() && is_space(text_[start]) && text_[start] != format_.delimiter) {
      ++start;
    }
    if (start < text_.size() && text_[start] == '"') {
      at = start + 1;
      for (;; ++at) {
        if (at == text_.size()) fail_at(field_count_, "the quoted field does not end on its line");
        if (text_[at] != '"') {
          field += text_[at];
        } else if (at + 1 < text_.size() && text_[at + 1] == '"') {
          field += text_[at++];
        } else {
          break;
        }
      }
      ++at;
      while (at < text_.size() && is_space(text_[at]) && text_[at] != format_.delimiter) ++at;
      if (at < text_.size() && text_[at] != format_.delimiter) {
        fail_at(field_count_, "text follows the closing quote");
      }
    } else {
      const std::size_t end = std::min(text_.find(format_.delimiter, at), text_.size());
      field.assign(text_, at, end - at);
      at = end;
    }
    ++field_count_;
  } while (at++ < text_.size());
}

double CsvReader::number(std::size_t column) const {
  const std::string_view text = trimmed(fields_[column]);
  if (text.empty()) fail_at(column, "the cell is empty");
  const bool plus = text.size() > 1 && text[0] == '+' && text[1] != '-';
  const char* const first = text.data() + (plus ? 1 : 0);
  const char* const last = text.data() + text.size();
  double value = 0;
  const auto [end, error] = std::from_chars(first, last, value);
  if (end != last || error == std::errc::invalid_argument) {
    fail_at(column, shown(text) + " is not a number");
  }
  // Out of range may also mean too small, which is as good as 0.
  if (error == std::errc::result_out_of_range)
    value = std::strtod(std::string(text).c_str(), nullptr);
  if (!std::isfinite(value)) fail_at(column, shown(text) + " is not finite");
  if (std::abs(value) > largest_number) fail_at(column, shown(text) + " is beyond 1e100");
  return value;
}

void CsvReader::fail(const std::string& problem) const {
  throw InputError(file_, line_, problem);
}

void CsvReader::fail_at(std::size_t column, const std::string& problem) const {
  std::string where = "column " + std::to_string(column + 1);
  if (format_.has_header && column < names_.size()) where += " (" + shown(names_[column]) + ")";
  fail(where + ": " + problem);
}

}  // namespace stream_forecast
