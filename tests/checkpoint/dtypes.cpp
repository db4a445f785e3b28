// SPDX-License-Identifier: MIT
// Dtypes that the library does not compute with, among them those that nobody knows yet: the file
// stays readable, and written again it has the same tensors byte for byte.
#include <string>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;

struct Carried {
  std::string dtype, shape;
  std::size_t bytes;
};

/// A tensor of this dtype between two that can be read.
std::string file_of(const Carried& one) {
  const std::string end = std::to_string(8 + one.bytes), last = std::to_string(16 + one.bytes);
  return test::with_header(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"odd":{"dtype":)" + one.dtype +
          R"(,"shape":)" + one.shape + R"(,"data_offsets":[8,)" + end +
          R"(]},"z":{"dtype":"F64","shape":[1],"data_offsets":[)" + end + ',' + last + "]}}",
      16 + one.bytes);
}

std::string refusal(const Carried& one) {
  return test::error_of([&] { (void)test::parsed(file_of(one)); });
}

bool same_tensor(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.other_dtype == b.other_dtype && a.shape == b.shape &&
         a.bytes == b.bytes;
}

}  // namespace

TEST_CASE("A tensor of any dtype is carried, and the rest of its file is read") {
  const std::vector<Carried> all = {{"\"C64\"", "[3]", 24},
                                    {"\"F8_E8M0\"", "[3,2]", 6},
                                    {"\"F8_E4M3FNUZ\"", "[5]", 5},
                                    {"\"F8_E5M2FNUZ\"", "[]", 1},
                                    {"\"F8_E5M2\"", "[7]", 7},
                                    {"\"F8_E4M3\"", "[7]", 7},
                                    {"\"F4\"", "[2,3]", 3},
                                    {"\"F4\"", "[3]", 2},
                                    {"\"F4\"", "[0,9]", 0},
                                    {"\"F6_E2M3\"", "[4]", 3},
                                    {"\"F6_E3M2\"", "[8]", 6},
                                    {"\"F6_E3M2\"", "[3]", 3},
                                    {"\"F128\"", "[2]", 32},
                                    {"\"C128\"", "[2,2]", 64},
                                    {"\"Q4_K\"", "[256]", 144},
                                    {"\"I2\"", "[9]", 3},
                                    {"\"other\"", "[1]", 5},
                                    {"\"f32\"", "[1]", 1},
                                    {"\"\"", "[0]", 3},
                                    {"\"n\\u00e4me \\\"x\\\" \\u0000\"", "[1,2,3]", 11}};
  for (const Carried& one : all) {
    CAPTURE(one.dtype, one.shape);
    const Tensors tensors = test::parsed(file_of(one));
    CHECK(tensors.names() == std::vector<std::string>{"a", "odd", "z"});
    CHECK(tensors["a"].description() == "F32[2]");
    const Tensor& odd = tensors["odd"];
    std::string bytes;
    for (const std::byte byte : odd.bytes) bytes += static_cast<char>(byte);
    CHECK(bytes == file_of(one).substr(file_of(one).size() - 8 - one.bytes, one.bytes));
    CHECK(test::mentions(test::error_of([&] { (void)tensors.matrix<float>("odd"); }),
                         {"tensor \"odd\": is ", "only F64, F32, F16, BF16 and integers"}));
    CHECK(test::error_of([&] { (void)tensors.matrix<double>("odd"); }).size() < 200);

    // Written again, with an alignment that those who follow can rely on.
    const std::string again = test::file_of(tensors);
    const Tensors back = test::parsed(again);
    for (const std::string& name : tensors.names()) {
      CHECK(same_tensor(back[name], tensors[name]));
    }
    CHECK(test::file_of(back) == again);
    const bool is_plain = one.dtype.find('\\') == std::string::npos;
    CHECK((!is_plain || again.find("\"dtype\":" + one.dtype + ',') != std::string::npos));
  }
}

TEST_CASE("Sizes that are known are checked, whether the numbers are or not") {
  CHECK(refusal({"\"C64\"", "[3]", 16}) ==
        "loglinear: test.safetensors: tensor \"odd\": is C64[3] and has 16 bytes; it must have 24");
  CHECK(
      refusal({"\"F8_E8M0\"", "[3]", 6}) ==
      "loglinear: test.safetensors: tensor \"odd\": is F8_E8M0[3] and has 6 bytes; it must have 3");
  CHECK(refusal({"\"F4\"", "[4]", 4}) ==
        "loglinear: test.safetensors: tensor \"odd\": is F4[4] and has 4 bytes; it must have 2");
  CHECK(
      refusal({"\"F6_E2M3\"", "[4]", 4}) ==
      "loglinear: test.safetensors: tensor \"odd\": is F6_E2M3[4] and has 4 bytes; it must have 3");
  for (const char* const dtype : {"\"C64\"", "\"F4\"", "\"F6_E3M2\"", "\"X\""}) {
    for (const char* const shape : {"[9223372036854775808]", "[4294967296,4294967296]",
                                    "[18446744073709551615,18446744073709551615]",
                                    "[0,4611686018427387904,4611686018427387904]"}) {
      CHECK(test::mentions(refusal({dtype, shape, 8}), {"is ", "more than memory can hold"}));
    }
  }
  CHECK(test::mentions(refusal({"null", "[4]", 4}), {"dtype is null; it must be a string"}));
}

TEST_CASE("A tensor of a dtype of one's own") {
  Tensors tensors;
  tensors.add("t", {.dtype = DType::other,
                    .shape = {3},
                    .bytes = std::vector<std::byte>(5, std::byte{7}),
                    .other_dtype = "Q13"});
  CHECK(tensors["t"].description() == "Q13[3]");
  CHECK(same_tensor(test::parsed(test::file_of(tensors))["t"], tensors["t"]));
  // A known name under DType::other would come back as another tensor.
  CHECK(test::error_of([&] {
          tensors.add("u", {.dtype = DType::other, .shape = {}, .bytes = {}, .other_dtype = "F32"});
        }) ==
        "loglinear: tensors: tensor \"u\": is of DType::other called \"F32\"; it must not be the "
        "name "
        "of another DType");
  CHECK(name_of(DType::f6_e3m2) == "F6_E3M2");
  CHECK(dtype_from("C64") == DType::c64);
  CHECK(!dtype_from("other"));
  CHECK(!dtype_from("Q13"));
  CHECK(size_of(DType::c64) == 8);
  CHECK(bits_of(DType::f4) == 4);
  CHECK(is_floating_point(DType::f4));
  CHECK(!is_floating_point(DType::c64));
}

TEMPLATE_TEST_CASE("Weights beside tensors of any dtype", "", float, double) {
  using Layer = LogLinearAttention<GLA, TestType>;
  const typename Layer::Options options{
      .d_model = 3, .d_k = 4, .d_v = 2, .max_levels = 3, .seed = 3};
  auto other = options;
  other.seed = 4;
  const Layer layer(options);
  Layer loaded(other);
  Tensors tensors = weights_of(layer, {}, dtype_of<TestType>(), "layer.");
  tensors.add("scales", {.dtype = DType::other,
                         .shape = {3},
                         .bytes = std::vector<std::byte>(2),
                         .other_dtype = "Q"});
  set_weights(loaded, test::parsed(test::file_of(tensors)), {}, {.prefix = "layer."});
  CHECK(test::same_bits(loaded.weight("w_key"), layer.weight("w_key")));
  CHECK(test::error_of([&] {
          set_weights(loaded, tensors, {{"w_key", "scales"}}, {.prefix = ""});
        }).size() > 0);
  Tensors carried = weights_of(layer);
  carried.add("k", {.dtype = DType::other, .shape = {4, 3}, .bytes = {}, .other_dtype = "Q"});
  CHECK(test::mentions(test::error_of([&] {
                         set_weights(loaded, carried, {{"w_key", "k"}});
                       }),
                       {"tensor \"k\": is Q[4, 3]; only F64, F32, F16, BF16 and integers"}));
}
