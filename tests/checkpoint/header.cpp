// SPDX-License-Identifier: MIT
// Files that are no safetensors files: each refused with a message that says where and why.
#include <cstring>
#include <string>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/checkpoint/safetensors.hpp"

namespace test = loglinear::test;

namespace {

using test::with_header;
/// A file with one tensor `t` of this description and 16 bytes of data.
std::string tensor(const std::string& description) {
  return with_header(R"({"t":)" + description + "}", 16);
}

std::string refusal(const std::string& bytes) {
  return test::error_of([&] { (void)test::parsed(bytes); });
}
void refuses(const std::string& bytes, const std::string& message) {
  CHECK(refusal(bytes) == "loglinear: test.safetensors: " + message);
}

}  // namespace

TEST_CASE("A well-formed file is taken") {
  const auto tensors = test::parsed(with_header(
      R"({"b":{"shape":[2,2],"data_offsets":[4,20],"dtype":"F32"},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"__metadata__":{"k":"v"},)"
      R"("z":{"dtype":"F64","shape":[0,7],"data_offsets":[4,4]}}  )",
      20));
  CHECK(tensors.names() == std::vector<std::string>{"a", "b", "z"});
  CHECK(tensors["b"].description() == "F32[2, 2]");
  CHECK(tensors.matrix<float>("z").cols() == 7);
  CHECK(tensors.metadata.at("k") == "v");
  CHECK(test::parsed(with_header("{}")).names().empty());
  // Written again it is another order, and the same from then on.
  const std::string again = test::file_of(tensors);
  CHECK(test::file_of(test::parsed(again)) == again);
  std::uint64_t length = 0;
  std::memcpy(&length, again.data(), 8);
  CHECK(length % 8 == 0);
}

TEST_CASE("The length of the header") {
  refuses("", "has 0 bytes; a safetensors file has at least 8");
  refuses("1234567", "has 7 bytes; a safetensors file has at least 8");
  refuses(std::string(8, '\0'), "the header must begin with {");
  refuses(
      std::string(8, '\xFF') + "{}",
      "the header's length is 18446744073709551615; it must be at most 100000000 and fit in the "
      "file of 10 bytes: this is no safetensors file, or a damaged one");
  const std::string whole = tensor(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})");
  CHECK(refusal(whole).empty());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(test::mentions(refusal(whole.substr(0, size)), {"loglinear: test.safetensors: "}));
  }
  refuses(whole + '\0', "the tensors end at byte 16 of 17 bytes of data; nothing may follow them");
}

TEST_CASE("Headers that are not JSON, or not the format's") {
  CHECK(test::mentions(refusal(with_header("{")),
                       {"the header is not JSON at byte 2", "end of input"}));
  CHECK(test::mentions(refusal(with_header("{}x")), {"the header is not JSON at byte 3"}));
  CHECK(test::mentions(refusal(with_header("{\"\xFF\":1}")), {"not JSON", "UTF-8"}));
  CHECK(test::mentions(refusal(with_header("{/**/}")), {"not JSON"}));
  refuses(with_header("[]"), "the header must begin with {");
  refuses(with_header(R"({"t":1})"), "tensor \"t\": is a number; it must be an object");
  refuses(with_header(R"({"t":[]})"), "tensor \"t\": is an array; it must be an object");
  refuses(with_header(R"({"t":null})"), "tensor \"t\": is null; it must be an object");
  refuses(with_header(R"({"__metadata__":"x"})"),
          "tensor \"__metadata__\": is a string; it must be an object");
  refuses(with_header(R"({"__metadata__":{"k":1}})"),
          "__metadata__: \"k\" is a number; it must be a string");
  refuses(with_header(R"({"__metadata__":{"k":{}}})"),
          "__metadata__: \"k\" is an object; it must be a string");
  refuses(with_header(R"({"__metadata__":{"k":"","k":""}})"), "__metadata__: \"k\" is there twice");
  refuses(with_header(R"({"__metadata__":{},"__metadata__":{}})"), "__metadata__: is there twice");
  const std::string deep(100000, '[');
  refuses(with_header(R"({"t":)" + deep), "tensor \"t\": is an array; it must be an object");
}

TEST_CASE("Tensors that are not described as they must be") {
  refuses(tensor(R"({"dtype":"F32","shape":[4]})"), "tensor \"t\": has no data_offsets");
  refuses(tensor(R"({"dtype":"F32","data_offsets":[0,16]})"), "tensor \"t\": has no shape");
  refuses(tensor(R"({"shape":[4],"data_offsets":[0,16]})"), "tensor \"t\": has no dtype");
  refuses(tensor(R"({"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]})"),
          "tensor \"t\": dtype is there twice");
  refuses(tensor(R"({"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]})"),
          "tensor \"t\": shape is there twice");
  refuses(tensor(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]},"t":{})"),
          "tensor \"t\": is there twice");
  refuses(tensor(R"({"dtype":32,"shape":[4],"data_offsets":[0,16]})"),
          "tensor \"t\": dtype is a number; it must be a string");
  refuses(tensor(R"({"dtype":"F32","shape":4,"data_offsets":[0,16]})"),
          "tensor \"t\": shape is a number; it must be an array");
  refuses(tensor(R"({"dtype":"F32","shape":"4","data_offsets":[0,16]})"),
          "tensor \"t\": shape is a string; it must be an array");
  for (const char* const wrong : {"-4", "4.0", "true", "[4]", "\"4\"", "{}", "1e30"}) {
    CHECK(test::mentions(refusal(tensor(R"({"dtype":"F32","shape":[)" + std::string(wrong) +
                                        R"(],"data_offsets":[0,16]})")),
                         {"tensor \"t\": shape is ", "a whole number from 0 to 2^64 - 1"}));
  }
  refuses(tensor(R"({"dtype":"F32","shape":[4],"data_offsets":[0]})"),
          "tensor \"t\": has 1 data_offsets; it must have 2");
  refuses(tensor(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16,16]})"),
          "tensor \"t\": has 3 data_offsets; it must have 2");
  CHECK(test::mentions(refusal(tensor(R"({"dtype":"F32","shape":[4],"data_offsets":[0,2e1]})")),
                       {"tensor \"t\": data_offsets is a number that is not whole"}));
}

TEST_CASE("Shapes that overflow or do not fit their bytes") {
  const auto shape = [](const std::string& lengths) {
    return tensor(R"({"dtype":"F32","shape":[)" + lengths + R"(],"data_offsets":[0,16]})");
  };
  refuses(shape("5"), "tensor \"t\": is F32[5] and has 16 bytes; it must have 20");
  refuses(shape(""), "tensor \"t\": is F32[] and has 16 bytes; it must have 4");
  refuses(shape("4,0"), "tensor \"t\": is F32[4, 0] and has 16 bytes; it must have 0");
  // 2^62 numbers of four bytes are 2^64 bytes, which a wrapped product would take for none.
  for (const char* const huge :
       {"4611686018427387904", "4294967296,1073741824", "18446744073709551615",
        "4,9223372036854775807", "9223372036854775808,4", "0,9223372036854775808,2"}) {
    CHECK(test::mentions(refusal(shape(huge)),
                         {"tensor \"t\": is F32[", "more than memory can hold"}));
  }
  CHECK(test::mentions(refusal(shape("18446744073709551616")), {"a number that is not whole"}));
}

TEST_CASE("Data that overlap, leave a hole or lie outside") {
  const auto two = [](const std::string& a, const std::string& b) {
    return with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[)" + a +
                           R"(]},"b":{"dtype":"F32","shape":[2],"data_offsets":[)" + b + "]}}",
                       16);
  };
  CHECK(refusal(two("0,8", "8,16")).empty());
  CHECK(refusal(two("8,16", "0,8")).empty());
  refuses(two("0,8", "4,12"),
          "tensor \"b\": data_offsets are 4 to 12; they overlap those of another tensor, which end "
          "at 8");
  refuses(two("0,8", "0,8"),
          "tensor \"b\": data_offsets are 0 to 8; they overlap those of another tensor, which end "
          "at 8");
  refuses(two("4,12", "8,16"),
          "tensor \"a\": data_offsets are 4 to 12; there is a hole before them, which begins at 0");
  refuses(two("0,8", "9,17"),
          "tensor \"b\": data_offsets are 9 to 17; they must rise and end within the 16 bytes of "
          "data");
  refuses(two("0,8", "16,8"),
          "tensor \"b\": data_offsets are 16 to 8; they must rise and end within the 16 bytes of "
          "data");
  refuses(two("0,8", "8,18446744073709551615"),
          "tensor \"b\": data_offsets are 8 to 18446744073709551615; they must rise and end within "
          "the 16 bytes of data");
  refuses(tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"),
          "the tensors end at byte 8 of 16 bytes of data; nothing may follow them");
}

TEST_CASE("Names in messages are short and printable") {
  const std::string name = "a\\u001b[31m" + std::string(200, 'x');
  const std::string message = refusal(with_header("{\"" + name + "\":1}"));
  CHECK(test::mentions(message, {"tensor \"a?[31mxxx", "xxx...\": is a number"}));
  CHECK(message.size() < 200);
}
