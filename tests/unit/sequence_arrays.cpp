// SPDX-License-Identifier: MIT
#include "loglinear/sequence/detail/arrays.hpp"

#include <set>
#include <string>

#include "catch.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using Matrix = detail::RowMajorMatrix<double>;
using Inputs = SequenceInputs<double>;
using Gradients = SequenceGradients<double>;

// An array that is added to a struct and not to the list of them all fails here.
static_assert(sizeof(Inputs) == detail::array_count * sizeof(SequenceArray<double>));
static_assert(sizeof(Gradients) == (detail::array_count + 1) * sizeof(Matrix));  // and `state`

/// All nine, with 1, 2, ... rows a token and columns; what they mean does not matter here.
Inputs all_given(test::Random& random, Index tokens) {
  Inputs in{};
  Index size = 0;
  detail::for_each_array(
      [&](const char* name, SequenceArray<double>& array) {
        const Index rows = std::string(name) == "q" ? tokens : tokens * (1 + size % 3);
        array = Matrix(random.matrix<double>(rows, ++size));
      },
      in);
  return in;
}

}  // namespace

TEST_CASE("every array of a sequence is visited once, under its name") {
  Inputs in{};
  std::set<std::string> names;
  std::set<const void*> arrays;
  detail::for_each_array(
      [&](const char* name, const SequenceArray<double>& array) {
        names.insert(name);
        arrays.insert(&array);
      },
      in);
  CHECK(names.size() == std::size_t{detail::array_count});
  CHECK(arrays.size() == std::size_t{detail::array_count});
  CHECK(arrays.count(&in.q) + arrays.count(&in.k) + arrays.count(&in.v) + arrays.count(&in.lambda) +
            arrays.count(&in.g) + arrays.count(&in.g_value) + arrays.count(&in.beta) +
            arrays.count(&in.u) + arrays.count(&in.p) ==
        9);
}

TEST_CASE("a slice has the rows of its tokens, of every array") {
  test::Random random(1);
  const Inputs in = all_given(random, 5), part = in.slice(1, 3);
  detail::for_each_array(
      [&](const char* name, const SequenceArray<double>& whole, const SequenceArray<double>& rows) {
        CAPTURE(name);
        const Index each = whole.rows() / 5;
        REQUIRE(rows.rows() == 3 * each);
        CHECK(test::same_bits(rows, whole.middleRows(each, 3 * each)));
      },
      in, part);
}

TEST_CASE("gradients have the shape of every array") {
  test::Random random(2);
  const Inputs in = all_given(random, 4);
  const Gradients gradients = Gradients::sized_like(in);
  detail::for_each_array(
      [](const char* name, const SequenceArray<double>& array, const Matrix& gradient) {
        CAPTURE(name);
        CHECK(gradient.rows() == array.rows());
        CHECK(gradient.cols() == array.cols());
      },
      in, gradients);
}

TEST_CASE(
    "a number that is not finite is found in every array, and rows where there are no tokens") {
  test::Random random(3);
  const Inputs in = all_given(random, 2);
  detail::for_each_array(
      [&](const char* name, const SequenceArray<double>& array) {
        CAPTURE(name);
        Matrix numbers = array;
        numbers(1, 0) = std::numeric_limits<double>::quiet_NaN();
        Inputs bad = in, without_tokens{};
        detail::for_each_array(
            [&](const char* other, SequenceArray<double>& to, SequenceArray<double>& alone) {
              if (std::string(other) != name) return;
              to = numbers;
              if (std::string(other) != "q") alone = numbers;
            },
            bad, without_tokens);
        const std::string message = test::error_of([&] { bad.require_numbers(1); });
        CHECK(test::mentions(message, {name}));
        if (std::string(name) == "q") return;
        CHECK(test::mentions(test::error_of([&] { without_tokens.require_shapes(0, 3); }),
                             {std::string("rows of ") + name, "no tokens"}));
      },
      in);
}
