// SPDX-License-Identifier: MIT
// Conversions between scalars: exact where they can be, else to nearest, ties to even.
#include "loglinear/checkpoint/tensors.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace checkpoint_tensors {

namespace test = loglinear::test;

namespace {

using loglinear::DType;
using loglinear::Tensors;
using Row = Eigen::Matrix<double, 1, Eigen::Dynamic>;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// One number as a tensor of the DType and back.
double through(DType dtype, double value) {
  Tensors tensors;
  tensors.add("t", Row::Constant(1, value), dtype);
  return tensors.matrix<double>("t")(0);
}

/// All finite numbers of a 16-bit DType with their codes, rising.
std::vector<double> all_of(DType dtype) {
  std::vector<double> values;
  for (unsigned code = 0; code < 0x8000; ++code) {
    Tensors tensors;
    const auto bits = static_cast<std::uint16_t>(code);
    loglinear::Tensor tensor{.dtype = dtype, .shape = {}, .bytes = std::vector<std::byte>(2)};
    std::memcpy(tensor.bytes.data(), &bits, 2);
    tensors.add("t", tensor);
    try {
      values.push_back(tensors.matrix<double>("t")(0));
    } catch (const loglinear::CheckpointError&) {
      break;  // infinity, and then NaNs
    }
  }
  return values;
}

}  // namespace

TEST_CASE("Every 16-bit number comes back, and what lies between goes to the nearest") {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const std::vector<double> values = all_of(dtype);
    CHECK(values.size() == (dtype == DType::f16 ? 0x7C00 : 0x7F80));
    CHECK(values[1] == std::ldexp(1.0, dtype == DType::f16 ? -24 : -133));
    CHECK(values.back() == (dtype == DType::f16 ? 65504 : std::ldexp(255.0, 120)));
    bool exact = true, nearest = true;
    for (std::size_t i = 0; i < values.size(); i += i < 300 || i + 300 > values.size() ? 1 : 61) {
      exact = exact && through(dtype, values[i]) == values[i] &&
              through(dtype, -values[i]) == -values[i] && std::signbit(through(dtype, -values[i]));
      if (i + 1 == values.size()) break;
      // The middle is exact in double; so are its neighbours, which a float cannot tell from it.
      const double middle = values[i] + (values[i + 1] - values[i]) / 2;
      const double even = i % 2 == 0 ? values[i] : values[i + 1];
      nearest = nearest && through(dtype, middle) == even &&
                through(dtype, std::nextafter(middle, 0)) == values[i] &&
                through(dtype, std::nextafter(middle, infinity)) == values[i + 1] &&
                through(dtype, -middle) == -even;
    }
    CHECK(exact);
    CHECK(nearest);
  }
}

TEST_CASE("What does not fit is refused, by name and place") {
  const auto refuses = [](DType dtype, double value, const char* message) {
    Row row = Row::Zero(3);
    row[2] = value;
    Tensors tensors;
    CHECK(test::error_of([&] { tensors.add("w", row, dtype); }) ==
          std::string("loglinear: tensors: tensor \"w\": ") + message);
    CHECK(tensors.names().empty());
  };
  // Halfway from the largest to the next power of two, and just below.
  refuses(DType::f16, 65520, "coefficient 2 is 65520; it must be finite as F16");
  CHECK(through(DType::f16, std::nextafter(65520.0, 0)) == 65504);
  const double bf16_limit = std::ldexp(511.0, 119);
  CHECK(through(DType::bf16, std::nextafter(bf16_limit, 0)) == std::ldexp(255.0, 120));
  refuses(DType::bf16, bf16_limit,
          "coefficient 2 is 3.39617752923046e+38; it must be finite as BF16");
  refuses(DType::f32, 1e39, "coefficient 2 is 1e+39; it must be finite as F32");
  refuses(DType::f64, infinity, "coefficient 2 is inf; it must be finite as F64");
  refuses(DType::f16, -infinity, "coefficient 2 is -inf; it must be finite as F16");
  refuses(DType::i32, 1, "cannot be made I32; it must be F64, F32, F16 or BF16");

  Tensors tensors;
  tensors.add("w", Row::Constant(2, 1e39), DType::f64);
  CHECK(tensors.matrix<double>("w")(1) == 1e39);
  CHECK(test::error_of([&] { (void)tensors.matrix<float>("w"); }) ==
        "loglinear: tensors: tensor \"w\": coefficient 0 is 1e+39; it must be finite in the scalar "
        "converted to");
}

TEST_CASE("F64 to float rounds, integers convert, F8 does not") {
  CHECK(loglinear::is_exact_in<float>(DType::bf16));
  CHECK(!loglinear::is_exact_in<float>(DType::f64));
  CHECK(loglinear::is_exact_in<double>(DType::i32));
  CHECK(!loglinear::is_exact_in<double>(DType::u64));
  Tensors tensors;
  tensors.add("third", Row::Constant(1, 1.0 / 3), DType::f64);
  CHECK(tensors.matrix<float>("third")(0) == 1.0f / 3);
  const std::uint64_t largest = UINT64_MAX;
  loglinear::Tensor whole{.dtype = DType::u64, .shape = {1, 1}, .bytes = std::vector<std::byte>(8)};
  std::memcpy(whole.bytes.data(), &largest, 8);
  tensors.add("whole", whole);
  CHECK(tensors.matrix<double>("whole")(0) == 0x1p64);
  tensors.add("f8", {.dtype = DType::f8_e4m3, .shape = {2}, .bytes = std::vector<std::byte>(2)});
  CHECK(test::error_of([&] { (void)tensors.matrix<float>("f8"); }) ==
        "loglinear: tensors: tensor \"f8\": is F8_E4M3[2]; only F64, F32, F16, BF16 and integers "
        "can be converted");
  CHECK(test::error_of([&] { (void)tensors["thrid"]; }) ==
        "loglinear: tensors: tensor \"thrid\": is missing; there are \"f8\" \"third\" \"whole\"");
}

TEST_CASE("Shapes: vectors have one dimension, matrices two; the first are the rows") {
  test::Random random(1);
  const auto matrix = random.matrix<float>(3, 4);
  Tensors tensors;
  tensors.add("m", matrix);
  tensors.add("block", matrix.block(1, 1, 2, 3).transpose());
  tensors.add("v", matrix.col(2));
  CHECK(tensors["m"].description() == "F32[3, 4]");
  CHECK(tensors["block"].description() == "F32[3, 2]");
  CHECK(tensors["v"].description() == "F32[3]");
  CHECK(test::same_bits(tensors.matrix<float>("m"), matrix));
  CHECK(test::same_bits(tensors.matrix<float>("block"), matrix.block(1, 1, 2, 3).transpose()));
  CHECK(test::same_bits(tensors.matrix<float>("v"), matrix.col(2)));
  loglinear::Tensor convolution = tensors["m"];
  convolution.shape = {3, 1, 4};
  tensors.add("c", convolution);
  CHECK(test::same_bits(tensors.matrix<float>("c"), matrix));
  CHECK(test::mentions(test::error_of([&] { tensors.add("__metadata__", matrix); }),
                       {"is no legal name"}));
  CHECK(test::error_of([&] { tensors.add("m", matrix); }) ==
        "loglinear: tensors: tensor \"m\": is there already");
}

}  // namespace checkpoint_tensors
