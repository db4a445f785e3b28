// SPDX-License-Identifier: MIT
// Any bytes are rows of finite numbers or are refused; a reader that skips to where another stood
// goes on as that one does.
#include "csv_reader.hpp"

#include <cmath>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "target.hpp"

namespace test = loglinear::test;

namespace {

using namespace stream_forecast;

/// The next row that can be read; none at the end.
std::optional<CsvRow> next(CsvReader& reader) {
  for (;;) {
    try {
      CsvRow row;
      if (!reader.read(row)) return {};
      return row;
    } catch (const InputError&) {
      test::require(reader.can_go_on(), "a stream in memory does not fail");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::Bytes bytes(data, size);
  const auto choice = bytes.take<std::uint8_t>();
  CsvFormat format{.delimiter = ",;\t "[choice & 3],
                   .has_header = (choice & 4) != 0,
                   .skip_bad_rows = (choice & 16) != 0};
  const std::string text(bytes.rest().begin(), bytes.rest().end());
  try {
    std::istringstream in(text), again(text);
    CsvReader reader(in, "in", format);
    std::vector<std::string> columns{"", "1"};
    if ((choice & 8) != 0) columns.push_back(reader.columns().front());
    reader.select(columns, {"1"});

    std::uint64_t rows = 0, index = 0;
    const auto stops_after = static_cast<std::uint64_t>(choice >> 4);
    while (rows < stops_after) {
      const auto row = next(reader);
      if (!row) break;
      test::require(row->values.size() == columns.size(), "a row has the columns asked for");
      for (const double value : row->values) {
        test::require(std::abs(value) <= CsvReader::largest_number, "numbers are finite, not huge");
      }
      test::require(rows == 0 || row->index > index, "rows are counted");
      index = row->index;
      ++rows;
    }
    test::require(reader.bytes_read() <= text.size(), "bytes are counted");
    if (rows == 0) return 0;
    format.columns = reader.columns().size();
    CsvReader other(again, "in", format);
    other.select(columns, {"1"});
    other.skip_to(reader.position());
    for (;;) {
      const auto one = next(reader), same = next(other);
      test::require(one.has_value() == same.has_value(), "both readers end together");
      if (!one) break;
      test::require(one->values == same->values && one->texts == same->texts &&
                        one->index == same->index && one->line == same->line,
                    "both readers read the same rows");
    }
  } catch (const InputError& error) {
    test::require(std::string(error.what()).starts_with("in:"), "messages begin with the place");
  }
  return 0;
}
