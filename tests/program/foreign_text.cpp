// SPDX-License-Identifier: MIT
// Tables as other programs and other people write them.
#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "csv_reader.hpp"

using stream_forecast::CsvFormat;
using stream_forecast::CsvPosition;
using stream_forecast::CsvReader;
using stream_forecast::CsvRow;
using stream_forecast::InputError;

namespace {

using Numbers = std::vector<double>;
using Counts = std::vector<std::uint64_t>;

/// All that a reader says of its rows: the last column's number, indices and lines of the good
/// rows, lines of the bad ones.
struct Table {
  Numbers values;
  Counts indices, lines, bad;
  std::vector<std::string> problems;
  bool ends_whole = true;
};

Table rest_of(CsvReader& reader) {
  Table table;
  for (CsvRow row;;) {
    try {
      if (!reader.read(row)) return table;
      table.values.push_back(row.values[0]);
      table.indices.push_back(row.index);
      table.lines.push_back(row.line);
    } catch (const InputError& error) {
      REQUIRE(reader.can_go_on());
      table.bad.push_back(reader.line());
      table.problems.emplace_back(error.what());
    }
    table.ends_whole = reader.row_is_whole();
  }
}

Table table_of(const std::string& text, CsvFormat format = {}, const std::string& column = {}) {
  std::istringstream in(text);
  CsvReader reader(in, "file", format);
  reader.select({column});
  return rest_of(reader);
}

/// The first error of a text, in its header or in a row.
std::string problem_of(const std::string& text, CsvFormat format = {},
                       const std::string& column = {}) {
  try {
    const Table table = table_of(text, format, column);
    return table.problems.empty() ? "" : table.problems.front();
  } catch (const InputError& error) {
    return error.what();
  }
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr CsvFormat tabs{.delimiter = '\t'}, spaces{.delimiter = ' '}, semicolons{.delimiter = ';'};
constexpr CsvFormat bare{.has_header = false},
    bare_skipping{.has_header = false, .skip_bad_rows = true};

std::string replaced(std::string text, char from, char to) {
  for (char& c : text) c = c == from ? to : c;
  return text;
}

}  // namespace

TEST_CASE("A row of empty cells is a row, whatever stands between them") {
  for (const char delimiter : {',', ';', '\t', ' ', '|'}) {
    const std::string text = replaced("a,b,c\n1,2,3\n,,\n\n4,5,6\n,,7\n", ',', delimiter);
    const Table table = table_of(text, {.delimiter = delimiter});
    CHECK(table.values == Numbers{3, 6, 7});
    CHECK(table.indices == Counts{0, 2, 3});
    CHECK(table.lines == Counts{2, 5, 6});
    CHECK(table.bad == Counts{3});
    // Too few and too many empty cells are no blank lines either.
    for (const char* cells : {",", ",,,"}) {
      const Table other =
          table_of(replaced("a,b,c\n1,2,3\n" + std::string(cells) + "\n4,5,6\n", ',', delimiter),
                   {.delimiter = delimiter});
      CHECK(other.bad == Counts{3});
      CHECK(other.indices == Counts{0, 2});
    }
    // Without a header the first row may be one of empty cells.
    CHECK(table_of(replaced(",,\n1,2,3\n", ',', delimiter), {delimiter, false}).bad == Counts{1});
  }
  CHECK(table_of("a\tb\n1\t2\n  \n3\t4\n", tabs).indices == Counts{0, 1});
  CHECK(table_of("a b\n1 2\n\t\n3 4\n", spaces).indices == Counts{0, 1});
  CHECK(table_of("a,b\n1,2\n \t \n3,4\n").indices == Counts{0, 1});
}

TEST_CASE("A last row without its end says so") {
  for (const char* end : {"", "\n", "\r\n", "\n\n"}) {
    const Table table = table_of("a,b\n1,2\n3,4" + std::string(end));
    CHECK(table.values == Numbers{2, 4});
    CHECK(table.ends_whole == (*end != '\0'));
  }
  CHECK_FALSE(table_of("a,b\n1,2\n3,4\r").ends_whole);  // the LF is to come
  CHECK_FALSE(table_of("a,b\n1,2\n3").ends_whole);
  CHECK_FALSE(table_of("a,b\n1,2\n\"3").ends_whole);
  CHECK_FALSE(table_of("a,b\n1,2\n\"a note\n").ends_whole);  // the quoted field may go on
  CHECK(table_of("a,b\n1,2\n3\n").ends_whole);
  CHECK(table_of("a,b\n1,2\n  ").ends_whole);
}

TEST_CASE("A row that was cut anywhere is read again from its begin") {
  const std::string text =
      "when,b\r\n\"Monday\",12.5\r\n\"Tues\nday\",-13e1\r\n\r\nWednesday,+14.25\r\nx,15\r\n";
  const Table whole = table_of(text);
  REQUIRE(whole.values == Numbers{12.5, -130, 14.25, 15});
  REQUIRE(whole.lines == Counts{2, 3, 6, 7});
  for (std::size_t length = 9; length <= text.size(); ++length) {
    std::istringstream half(text.substr(0, length));
    CsvReader first(half, "file");
    first.select({""});
    CsvPosition position = first.position();
    Numbers values;
    for (CsvRow row;;) {
      bool good = true;
      try {
        if (!first.read(row)) break;
      } catch (const InputError&) {
        good = false;
      }
      if (!first.row_is_whole()) break;
      REQUIRE(good);
      values.push_back(row.values[0]);
      position = first.position();
    }
    std::istringstream grown(text);
    CsvReader second(grown, "file");
    second.select({""});
    second.skip_to(position);
    const Table rest = rest_of(second);
    CHECK(rest.bad.empty());
    CHECK(rest.indices.size() + values.size() == 4);
    if (!rest.indices.empty()) CHECK(rest.indices.front() == values.size());
    values.insert(values.end(), rest.values.begin(), rest.values.end());
    CHECK(values == whole.values);
  }
}

TEST_CASE("What follows an unfinished row either replaces it or comes after it") {
  const auto after = [](const std::string& unfinished, const std::string& text,
                        CsvFormat format = {}) {
    std::istringstream in(text);
    CsvReader reader(in, "file", format);
    reader.select({""});
    reader.continue_from({100, 7}, unfinished);
    return rest_of(reader);
  };
  CHECK(after("3,1", "a,b\n3,12\n4,5\n").values == Numbers{12, 5});
  CHECK(after("3,12", "a,b\r\n3,12\r\n4,5\r\n").values == Numbers{12, 5});
  CHECK(after("3", "a,b\n\n3,12\n4,5\n").values == Numbers{12, 5});
  CHECK(after("3,12", "a,b\n4,5\n").values == Numbers{12, 5});
  CHECK(after("3,12", "a,b\n4,5\n").indices == Counts{7, 8});
  CHECK(after("3,12", "4,5\n6,7\n", bare).values == Numbers{12, 5, 7});
  CHECK(after("3,12", "3,125\n6,7\n", bare).values == Numbers{125, 7});
  CHECK(after("", "a,b\n4,5\n").values == Numbers{5});
  CHECK(after("\"a note", "a,b\n\"a note\nof two lines\",5\n").values == Numbers{5});
  CHECK(after("\"a note\nof tw", "a,b\n\"a note\nof two lines\",5\n").values == Numbers{5});
  const Table bad = after("3", "a,b\n4,5\n");
  CHECK(bad.bad.size() == 1);
  CHECK(bad.indices == Counts{8});
  const Table nothing_new = after("3,12", "a,b\n");
  CHECK(nothing_new.values == Numbers{12});
  CHECK_FALSE(nothing_new.ends_whole);
}

TEST_CASE("Without a header most of the first rows say how many columns there are") {
  const std::string rows = "1,2\n3,4\n5,6\n7,8\n";
  for (const char* first : {"1\n", "1,2,3\n", "\"1,2\n", "1,\"2\"x\n", "1\r2,3\n", ",,\n", "#\n#\n",
                            "# made by a program, of course\n"}) {
    const Table table = table_of(first + rows, bare_skipping);
    CHECK(table.values == Numbers{2, 4, 6, 8});
    CHECK(table.bad.size() == (std::string(first) == "#\n#\n" ? 2 : 1));
    CHECK(table.bad.front() == 1);
  }
  CHECK(table_of(std::string((1 << 20) + 5, 'x') + "\n" + rows, bare_skipping).values ==
        Numbers{2, 4, 6, 8});
  // A hundred malformed rows, too.
  std::string many;
  for (int i = 0; i < 150; ++i) many += "1,\"2\"x\n";
  CHECK(table_of(many + rows, bare_skipping).bad.size() == 150);
  CHECK(table_of("1\n2,3\n", bare_skipping).values == Numbers{3});  // rows are cut, not grown
  CHECK(table_of("7\n", bare_skipping).values == Numbers{7});
  // What is known counts, whatever the first rows are.
  CHECK(table_of("1\n2\n3,4\n", {.has_header = false, .columns = 2}).values == Numbers{4});
  // If rows must not be bad the first one decides, at once.
  CHECK(table_of("1,2\n3\n4\n5\n", bare).bad == Counts{2, 3, 4});
  CHECK(contains(problem_of("\"1,2\n3,4\n", bare), "file:1: column 1: the quoted field"));
  CHECK(contains(problem_of("\"1\"x,2\n", bare_skipping), "file:1: column 1: text follows"));
  CHECK(table_of("\"a\nb\",1\n\"c\",2\n", bare).values == Numbers{1, 2});
  CHECK(table_of("\"a\nb\",1\n\"c\",2\n", bare).lines == Counts{1, 3});
}

TEST_CASE("Without a header a row of several lines is one of the first rows") {
  for (const char* const text : {"a\nb", "a\nb,c\nd", "a, 1\nb, x\n", "\n\n", "a\n\"\"b\n,,,,"}) {
    std::string rows;
    Numbers values;
    for (int i = 1; i <= 150; ++i) {
      rows += std::to_string(i) + ",\"" + text + "\"," + std::to_string(i) + '\n';
      values.push_back(i);
    }
    CHECK(table_of(rows, bare_skipping).values == values);
    CHECK(table_of(rows, bare).values == values);
    for (const char* const first : {"1\n", "1,2,3,4\n", "1,\"2\"x\n", "#\n#\n"}) {
      const Table table = table_of(first + rows, bare_skipping);
      CHECK(table.values == values);
      CHECK(table.bad.size() == (std::string(first) == "#\n#\n" ? 2 : 1));
    }
  }
  // A forgotten quote does not hide the rows after it.
  std::string rows = "1,\"2\n";
  Numbers values;
  for (int i = 1; i <= 150; ++i) {
    rows += "1," + std::to_string(i) + '\n';
    values.push_back(i);
  }
  CHECK(table_of(rows, bare_skipping).values == values);
}

TEST_CASE("A quoted field with line ends is one field of one row") {
  const Table table =
      table_of("note,b\n\"one\ntwo\",1\nx,2\n\"a\r\n\r\n\"\"b\"\" \",3\n\"\n\",4\n");
  CHECK(table.values == Numbers{1, 2, 3, 4});
  CHECK(table.indices == Counts{0, 1, 2, 3});
  CHECK(table.lines == Counts{2, 4, 5, 8});
  CHECK(table.bad.empty());
  CHECK(table_of("\"no\nte\",b\nx,2\n").lines == Counts{3});
  CHECK(table_of("a,\"b\nb\"\nx,2\n", {}, "b\nb").values == Numbers{2});
  // A row that is bad for another reason counts once, too.
  const Table bad = table_of("note,b\nx,1\n\"one\ntwo\nthree\",y\nx,2\n\"one\ntwo\"\nx,3\n");
  CHECK(bad.values == Numbers{1, 2, 3});
  CHECK(bad.indices == Counts{0, 2, 4});
  CHECK(bad.lines == Counts{2, 6, 9});
  CHECK(bad.bad == Counts{3, 7});
}

TEST_CASE("A forgotten quote costs its own row") {
  for (const char* row : {"\"x,1", "x,\"1", "\"x,\"1\"", "\"\"\"x,1", "\""}) {
    const Table table = table_of("a,b\nx,1\n" + std::string(row) + "\nx,2\n\"x\",3\n\"x\",\"4\"\n");
    CHECK(table.values == Numbers{1, 2, 3, 4});
    CHECK(table.indices == Counts{0, 2, 3, 4});
    CHECK(table.bad == Counts{3});
  }
  // The lines after it need not be good ones; some end must come soon.
  std::string text = "a,b\nx,1\n\"x,1\n";
  for (int i = 0; i < 500; ++i) text += "bad\n";
  const Table table = table_of(text + "x,2\n");
  CHECK(table.values == Numbers{1, 2});
  CHECK(table.bad.size() == 501);
}

TEST_CASE("A final ^Z ends the text") {
  for (const char* end : {"\x1A", "\n\x1A", "\r\n\x1A", "\r\n\x1A\r\n", "\x1A\n", "\n\x1A\x1A\x1A",
                          "\n\n\x1A\n\n", "\n\x1Awhatever filled the block"}) {
    const Table table = table_of("a,b\r\n1,2\r\n3,4" + std::string(end));
    CHECK(table.values == Numbers{2, 4});
    CHECK(table.bad.empty());
  }
  using namespace std::string_literals;
  CHECK(table_of("a,b\n1,2\n\x1A\0\0\0"s).bad.empty());
  CHECK(contains(problem_of("\x1A"), "file:1: the input is empty"));
  // In the middle it is a character as any other.
  const Table table = table_of("a,b\n1,2\x1A\n3,4\n\x1A,5\n6,7\n");
  CHECK(table.values == Numbers{4, 5, 7});
  CHECK(table.bad == Counts{2});
}

TEST_CASE("Messages stay short") {
  std::string header = "c0";
  for (int i = 1; i < 80'000; ++i) header += ",c" + std::to_string(i);
  const std::string problem = problem_of(header + "\n1\n", {}, "none");
  CHECK(contains(problem, "there is no column 'none'; the columns are 'c0', 'c1'"));
  CHECK(contains(problem, " and 79992 more"));
  CHECK(problem.size() < 200);
  CHECK(problem_of(header + "\n1\n").size() < 200);
  const std::string long_name(100'000, 'n'), long_cell(100'000, 'z');
  CHECK(problem_of(long_name + "," + long_name + "\n", {}, long_name).size() < 200);
  CHECK(problem_of(long_name + "\n" + long_cell + "\n").size() < 300);
  CHECK(problem_of("a\n" + std::string(100'000, '9') + "\n").size() < 200);
  CHECK(problem_of("a\n", {}, std::string(100'000, '9')).size() < 200);
  // No character is cut in two.
  CHECK(contains(problem_of("x\n" + std::string(39, 'z') + "\u00e9\u00e9\n"),
                 "'" + std::string(39, 'z') + "...'"));
}

TEST_CASE("What may be wrong is said, and nothing else is") {
  const auto hints = [](const std::string& text, const std::string& hint, CsvFormat format = {},
                        const std::string& column = {}) {
    INFO(text);
    INFO(problem_of(text, format, column));
    CHECK(contains(problem_of(text, format, column), hint));
  };
  const std::string semicolon = "if ';' separates the fields, say --delimiter ';'",
                    tab = "if tabs separate the fields, say --delimiter tab",
                    point = "write it with a decimal point";
  hints("a;b\n1;2\n", semicolon);
  hints("a;b\n1;2\n", semicolon, {}, "b");
  hints("a;b\n1,5;2,5\n", semicolon);
  hints("\"a\";\"b\"\n\"1\";\"2\"\n", semicolon);
  hints("1,5;2,5\n", semicolon, bare, "2");
  hints("1;2\n", semicolon, bare);
  hints("a\tb\n1\t2\n", tab);
  hints("a\tb\n1,5\t2,5\n", tab);
  hints("1\t2\n", tab, bare);
  hints("a|b\n1|2\n", "say --delimiter '|'");
  hints("a b\n1 2\n", "say --delimiter ' '");
  hints("a,b\n1,2\n", "say --delimiter ','", semicolons);
  hints("a;b\n1,5;2,5\n", point, semicolons);
  hints("a,b\n1,\"2,5\"\n", point);
  hints("a\tb\n1\t2,5\n", point, tabs);
  hints("a,b\n1,2\n3,4", "", {}, "c");

  using namespace std::string_literals;
  const auto wide = [](const std::string& text, bool big_endian) {
    std::string result;
    for (const char c : text) {
      if (big_endian) result += '\0';
      result += c;
      if (!big_endian) result += '\0';
    }
    return result;
  };
  const std::string text = "a,b\n1,2\n3,4\n";
  for (const CsvFormat format : {CsvFormat{}, bare, bare_skipping}) {
    hints("\xFF\xFE" + wide(text, false), "file:1: the input is UTF-16, not UTF-8", format);
    hints("\xFE\xFF" + wide(text, true), "iconv -f UTF-16 -t UTF-8", format);
    hints("\xFF\xFE\0\0a\0\0\0"s, "the input is UTF-32", format);
    hints(wide(text, false), "iconv -f UTF-16LE -t UTF-8", format);
    hints(wide(text, true), "UTF-16", format);
  }
  const std::string carriage = "if lines end in a carriage return alone";
  for (const CsvFormat format : {CsvFormat{}, bare, bare_skipping}) {
    hints("a,b\r1,2\r3,4\r", carriage, format);
    hints("a\r1\r2\r3", carriage, format);
    hints(replaced(std::string((1 << 20) + 5, ' '), ' ', '\r') + "x", carriage, format);
  }
  hints("a,b\n1,2\n3,4\r5,6\n", "file:3: column 2 ('b'): a carriage return stands outside quotes");
  CHECK(table_of("a,b\r\r\n1,2\r\r\n").values == Numbers{2});
  CHECK(table_of("a,b\n\"x\ry\",2\n").values == Numbers{2});
  hints("a,b\n1,2\n3", "the input ends within this row");

  for (const char* plain : {"a,b\n1,x\n", "a,b\n1\n", "my demand\nx\n", "a;b,c\n1,x\n",
                            "text,b\n1;2,x\n", "a,b\n1,1 2\n"}) {
    INFO(problem_of(plain));
    CHECK_FALSE(problem_of(plain).empty());
    CHECK_FALSE(contains(problem_of(plain), ";"));
  }
}

TEST_CASE("Numbers are those of C with a decimal point") {
  for (const auto& [cell, value] : std::map<std::string, double>{{"+5", 5},
                                                                 {"5.", 5},
                                                                 {".5", 0.5},
                                                                 {"-0", 0},
                                                                 {"1E3", 1000},
                                                                 {"1e-400", 0},
                                                                 {"00012", 12},
                                                                 {" 7 ", 7},
                                                                 {"\"8\"", 8},
                                                                 {"-1e100", -1e100}}) {
    INFO(cell);
    CHECK(table_of("a\n" + cell + "\n").values == Numbers{value});
  }
  for (const char* cell : {"nan", "NaN", "-inf",  "Infinity", "nan(1)",  "0x1p3", "0x10",
                           "++5", "+-5", "--5",   "5 6",      "1_000",   "1'000", "5%",
                           "5e",  "e5",  "1e400", "1.1e100",  "NA",      "\"\"",  "-",
                           "+",   ".",   "5.5.5", "\u22125",  "5\u00a0", "true",  "1\xFF"}) {
    INFO(cell);
    CHECK(table_of("a\n" + std::string(cell) + "\n").bad == Counts{2});
  }
}
