// SPDX-License-Identifier: MIT
// Headers at the edges of the format: what the reference implementation takes is taken, everything
// else refused with a short sentence, and no lie makes the reader allocate.
#include <string>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/checkpoint/safetensors.hpp"

namespace checkpoint_hostile {

namespace test = loglinear::test;

namespace {

using loglinear::Tensors;

std::string refusal(const std::string& bytes) {
  const std::string message = test::error_of([&] { (void)test::parsed(bytes); });
  CHECK(message.size() < 400);
  return message;
}

/// The header of one tensor `t` of four bytes with this in its entry.
std::string entry(const std::string& more) {
  return R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})" + more + "}";
}
std::string extra(const std::string& value) {
  return R"({"t":{"dtype":"F32","extra":)" + value + R"(,"shape":[1],"data_offsets":[0,4]}})";
}
std::string offsets(const std::string& from_to) {
  return R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[)" + from_to + "]}}";
}
std::string shape(const std::string& lengths) {
  return R"({"t":{"dtype":"F32","shape":[)" + lengths + R"(],"data_offsets":[0,4]}})";
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

void takes(const std::string& header) {
  CAPTURE(header.substr(0, 200));
  CHECK(refusal(test::with_header(header, 4)).empty());
}
void refuses(const std::string& header, const std::string& reason) {
  CAPTURE(header.substr(0, 200));
  CHECK(test::mentions(refusal(test::with_header(header, 4)), {reason}));
}

}  // namespace

TEST_CASE("Nothing hides behind a NUL byte") {
  const std::string nul(1, '\0');
  for (const std::string& hidden :
       {nul, nul + "x", nul + entry(""), "  " + nul + "  ", nul + "}"}) {
    refuses(entry("") + hidden, "the header has a byte 0 at ");
  }
  refuses(nul + entry(""), "the header has a byte 0 at 0");
  refuses("{" + nul + "}", "the header has a byte 0 at 1");
  refuses("{\"" + nul + "\":{}}", "the header has a byte 0 at 2");
  for (const char* const more : {"x", "{}", ",", "}", "]", "\"", "\x01", "\x0B", "\x0C", "\x7F",
                                 "0", "/**/", "\xEF\xBB\xBF", "\xC2\xA0"}) {
    refuses(entry("") + more, "the header is not JSON at byte ");
    refuses(entry("") + "  " + more, "the header is not JSON at byte ");
  }
}

TEST_CASE("Space around the header's JSON is padding") {
  for (const char* const space : {" ", "\n", "\t", "\r", " \r\n\t "}) {
    takes(entry("") + space);
    takes(space + entry(""));
    takes(space + entry("") + space);
  }
  takes("{ \"t\" : {\"dtype\":\t\"F32\",\n\"shape\" : [ 1 ], \"data_offsets\":[0 ,\r4]} }");
  for (const std::string& header : {std::string("   "), std::string("\xEF\xBB\xBF") + entry(""),
                                    std::string("\x0B") + entry("")}) {
    refuses(header, "the header must begin with {");
  }
}

TEST_CASE("What the reference accepts beside the three keys") {
  takes(entry(R"(,"__metadata__":null)"));
  takes(entry(R"(,"__metadata__":{})"));
  CHECK(test::parsed(test::with_header(entry(R"(,"__metadata__":null)"), 4)).metadata.empty());
  refuses(entry(R"(,"__metadata__":null,"__metadata__":null)"), "__metadata__: is there twice");
  refuses(entry(R"(,"__metadata__":null,"__metadata__":{})"), "__metadata__: is there twice");
  refuses(entry(R"(,"__metadata__":{"k":null})"), "\"k\" is null; it must be a string");
  refuses(entry(R"(,"__metadata__":[])"), "is an array; it must be an object");
  refuses(entry(R"(,"u":null)"), "tensor \"u\": is null; it must be an object");

  for (const char* const value :
       {"1", "-1", "-0", "1.5e3", "18446744073709551616", "null", "true", "\"text\"", "[]", "{}",
        "[1,[2,{\"a\":[{}]}],\"b\"]", R"({"dtype":"I8","shape":[9],"data_offsets":[1,2],"x":{}})",
        R"({"x":1,"x":2})"}) {
    takes(extra(value));
  }
  takes(R"({"t":{"":0,"a":1,"a":2,"Dtype":"F64","dtype":"F32","shape":[1],"data_offsets":[0,4]}})");
  refuses(extra("1e999"), "not JSON");
  refuses(extra("[1"), "not JSON");
  refuses(extra("[1}"), "not JSON");
  refuses(extra("\"\xFF\""), "not JSON");
  refuses(R"({"t":{"extra":1,"shape":[1],"data_offsets":[0,4]}})", "tensor \"t\": has no dtype");
  refuses(R"({"t":{"extra":{"dtype":"F32"},"shape":[1],"data_offsets":[0,4]}})",
          "tensor \"t\": has no dtype");
  refuses(R"({"t":{"extra":{},"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
          "tensor \"t\": dtype is there twice");

  // The header's object is one, the tensor's another; 125 more make the 127 of the reference.
  takes(extra(repeated("[", 125) + repeated("]", 125)));
  takes(extra(repeated("{\"a\":", 124) + "{}" + repeated("}", 124)));
  refuses(extra(repeated("[", 126) + repeated("]", 126)), "is nested too deeply");
  refuses(extra(repeated("{\"a\":", 1000000)), "is nested too deeply");
  refuses(extra(repeated("[", 1000000)), "is nested too deeply");
}

TEST_CASE("An empty name is a name") {
  const std::string file =
      test::with_header(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  const Tensors tensors = test::parsed(file);
  CHECK(tensors.names() == std::vector<std::string>{""});
  CHECK(tensors[""].description() == "F32[1]");
  CHECK(test::parsed(test::file_of(tensors))[""].bytes == tensors[""].bytes);
  refuses(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"":{}})",
          "tensor \"\": is there twice");
}

TEST_CASE("Names that are not UTF-8, and some that are strange") {
  for (const char* const name : {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82",
                                 "\\ud800", "\\udc00\\ud800", "\\x41", "\n", "\x1F"}) {
    refuses("{\"" + std::string(name) + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
            "not JSON");
  }
  for (const char* const name : {"\\u0000", "\\ud83d\\ude00", "\xF0\x9F\x98\x80", "\\\"", "\\n",
                                 "..", "/etc/passwd", "\x7F", "dtype", "__metadata__ "}) {
    takes("{\"" + std::string(name) + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})");
  }
  // One name in two spellings.
  refuses(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0074":{}})",
          "is there twice");
  refuses(entry(R"(,"__metadata__":{"k":"","\u006b":""})"), "is there twice");
}

TEST_CASE("Numbers that are not as JSON writes whole ones") {
  for (const char* const wrong :
       {"1e0", "1.0", "-0", "-0.0", "-1", "0.5", "1e3", "18446744073709551616", "1e30", "null",
        "\"1\"", "true", "[1]", "{}", "99999999999999999999999999999999"}) {
    refuses(shape(wrong), "tensor \"t\": shape is ");
    refuses(offsets(std::string("0,") + wrong), "tensor \"t\": data_offsets is ");
  }
  for (const char* const wrong :
       {"01", "+1", "0x1", ".5", "1.", "1e", "NaN", "Infinity", "1_0", "--1", "1e999", "-"}) {
    refuses(shape(wrong), "not JSON");
    refuses(offsets(std::string("0,") + wrong), "not JSON");
  }
}

TEST_CASE("Offsets and lengths near the largest integers") {
  for (const char* const huge :
       {"9223372036854775807", "9223372036854775808", "9223372036854775811", "18446744073709551612",
        "18446744073709551615"}) {
    refuses(offsets(std::string("0,") + huge), "they must rise and end within the 4 bytes of data");
    refuses(offsets(std::string(huge) + ",4"), "they must rise and end within the 4 bytes of data");
    refuses(offsets(std::string(huge) + ',' + huge), "they must rise and end within");
    refuses(shape(huge), "F32[");
    refuses(shape(std::string(huge) + ',' + huge), "more than memory can hold");
  }
  // Products that wrap to the right number: 2^62 + 1 floats are 2^64 + 4 bytes.
  refuses(shape("4611686018427387905"), "more than memory can hold");
  refuses(shape("3,6148914691236517206"), "more than memory can hold");

  const auto length = [](std::uint64_t value, const std::string& rest) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &value, 8);
    return bytes + rest;
  };
  for (const std::uint64_t value :
       {UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8, std::uint64_t{1} << 63,
        (std::uint64_t{1} << 63) - 1, std::uint64_t{1} << 32, std::uint64_t{100000001},
        std::uint64_t{3}, std::uint64_t{0}}) {
    CHECK(!refusal(length(value, "{}")).empty());
  }
  CHECK(refusal(length(2, "{}")).empty());
}

TEST_CASE("Overlaps, holes and empty tensors between others") {
  const auto three = [](const std::string& middle, const std::string& offsets) {
    return test::with_header(
        R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"m":{"dtype":"I8","shape":)" +
            middle + R"(,"data_offsets":)" + offsets +
            R"(},"z":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}})",
        8);
  };
  for (const char* const at : {"[0,0]", "[4,4]", "[8,8]"}) CHECK(refusal(three("[0]", at)).empty());
  CHECK(refusal(three("[0,4611686018427387904]", "[4,4]")).empty());
  CHECK(refusal(three("[4611686018427387904,0]", "[4,4]")).empty());
  for (const char* const at : {"[1,1]", "[3,3]", "[5,5]", "[9,9]", "[0,1]", "[4,8]", "[0,8]"}) {
    CHECK(!refusal(three("[0]", at)).empty());
  }
  CHECK(!refusal(three("[4]", "[0,4]")).empty());
  const Tensors tensors = test::parsed(three("[0,4611686018427387904]", "[4,4]"));
  CHECK(tensors.matrix<float>("m").rows() == 0);
  CHECK(tensors.matrix<double>("m").size() == 0);
}

}  // namespace checkpoint_hostile
