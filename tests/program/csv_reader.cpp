// SPDX-License-Identifier: MIT
#include "csv_reader.hpp"

#include <cmath>
#include <random>
#include <sstream>
#include <vector>

#include "catch.hpp"

using stream_forecast::CsvFormat;
using stream_forecast::CsvReader;
using stream_forecast::CsvRow;
using stream_forecast::InputError;

namespace {

std::vector<std::vector<double>> numbers(const std::string& text,
                                         const std::vector<std::string>& columns,
                                         CsvFormat format = {}) {
  std::istringstream in(text);
  CsvReader reader(in, "file", format);
  reader.select(columns);
  std::vector<std::vector<double>> rows;
  for (CsvRow row; reader.read(row);) rows.push_back(row.values);
  return rows;
}

using Rows = std::vector<std::vector<double>>;

}  // namespace

TEST_CASE("Columns come by name, or else by number, in the order asked for") {
  CHECK(numbers("a,b,c\n1,2,3\n4,5,6\n", {"c", "a"}) == Rows{{3, 1}, {6, 4}});
  CHECK(numbers("a,b,c\n1,2,3\n", {"2", "2"}) == Rows{{2, 2}});
  CHECK(numbers("2,1\n10,20\n", {"1"}) == Rows{{20}});  // a name goes before a number
  CHECK(numbers("1,2\n3,4\n", {"2"}, {',', false}) == Rows{{2}, {4}});
  CHECK_THROWS_AS(numbers("a,b\n", {"0"}), InputError);
  CHECK_THROWS_AS(numbers("a,b\n", {"3"}), InputError);
  CHECK(numbers("2,1\n10,20\n", {""}) == Rows{{20}});
  CHECK_THROWS_AS(numbers("a,b\n", {"1a"}), InputError);
}

TEST_CASE("Quotes, spaces, line ends, blank lines and a byte-order mark") {
  const Rows expected{{1}, {-2.5}, {3e5}};
  CHECK(numbers("x\n1\n-2.5\n3e5\n", {"x"}) == expected);
  CHECK(numbers("x\r\n1\r\n-2.5\r\n3e5", {"x"}) == expected);
  CHECK(numbers("\xEF\xBB\xBFx\n\n \t\n1\n\r\n-2.5\n+3e5\n\n", {"x"}) == expected);
  CHECK(numbers("\"x\"\n\"1\"\n \"-2.5\" \n  3e5  \n", {"x"}) == expected);
  CHECK(numbers("\"a,\"\"b\"\"\",x\n\",\",1\n\"\"\"\",-2.5\n,3e5\n", {"x"}) == expected);
  CHECK(numbers("\"a,\"\"b\"\"\"\n7\n", {"a,\"b\""}) == Rows{{7}});
  CHECK(numbers("x\ty\n1\t2\n\"3\"\t 4\n", {"y"}, {'\t', true}) == Rows{{2}, {4}});
  CHECK(numbers("x\n1e-999\n", {"x"}) == Rows{{0}});
}

TEST_CASE("After a bad row reading goes on with the next") {
  std::istringstream in("x,y\n1,2\n1\n1,\"2\n3,4\n5,z\n6,7");
  CsvReader reader(in, "file");
  reader.select({"y"});
  std::vector<double> values;
  std::vector<std::uint64_t> lines, indices, bad;
  for (CsvRow row;;) {
    try {
      if (!reader.read(row)) break;
      values.push_back(row.values[0]);
      lines.push_back(row.line);
      indices.push_back(row.index);
    } catch (const InputError&) {
      bad.push_back(reader.line());
    }
  }
  CHECK(values == std::vector<double>{2, 4, 7});
  CHECK(lines == std::vector<std::uint64_t>{2, 5, 7});
  CHECK(indices == std::vector<std::uint64_t>{0, 3, 5});
  CHECK(bad == std::vector<std::uint64_t>{3, 4, 6});
}

TEST_CASE("Messages show text from outside short and without control characters") {
  try {
    numbers("x\n\x1b[31m" + std::string(100, 'z') + "\n", {"x"});
    FAIL("no error");
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.find('\x1b') == std::string::npos);
    CHECK(message.find("'?[31mzz") != std::string::npos);
    CHECK(message.size() < 100);
  }
}

TEST_CASE("Random bytes give rows or errors, never anything else") {
  std::mt19937 random(7);
  const std::string alphabet = "0123456789,,,,\"\"\n\n\n\r .-+eE\tnaif\0x";
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string text;
    const std::size_t length = random() % 60;
    for (std::size_t i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
    std::istringstream in(text);
    try {
      CsvReader reader(in, "file", {',', trial % 2 == 0});
      reader.select({"1"});
      CsvRow row;
      for (bool more = true; more;) {
        try {
          more = reader.read(row);
          if (more) REQUIRE(std::isfinite(row.values.at(0)));
        } catch (const InputError&) {
          REQUIRE(reader.can_go_on());
        }
      }
    } catch (const InputError&) {
    }
  }
}
