// SPDX-License-Identifier: MIT
// Whether two arrays share memory, against the set of all their numbers.
#include "loglinear/batch/detail/footprint.hpp"

#include <set>
#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/batch/batch_chunkwise.hpp"
#include "loglinear/batch/batch_gradient.hpp"
#include "loglinear/batch/batch_recurrent.hpp"
#include "loglinear/pool/stream_pool.hpp"
#include "support.hpp"

using namespace loglinear;

namespace {

using Array = HeadArray<float>;
using Index = Eigen::Index;

std::set<const float*> numbers_of(const Array& array) {
  std::set<const float*> all;
  for (Index b = 0; b < array.batch(); ++b) {
    for (Index t = 0; t < array.rows(); ++t) {
      for (Index h = 0; h < array.heads(); ++h) {
        for (Index j = 0; j < array.columns(); ++j) {
          all.insert(array.row(b, t, h) + j * array.strides()[3]);
        }
      }
    }
  }
  return all;
}

bool share(const Array& a, const Array& b) {
  const std::set<const float*> own = numbers_of(a);
  for (const float* number : numbers_of(b)) {
    if (own.contains(number)) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("Arrays overlap where they share a number") {
  std::vector<float> memory(20000);
  float* const middle = memory.data() + 10000;
  test::Random random(11);
  const auto drawn = [&](Index most) {
    return static_cast<Index>(random.number(0, static_cast<double>(most) + 1 - 1e-9));
  };
  int overlapping = 0, interleaved = 0;
  for (int n = 0; n < 20000; ++n) {
    const auto array = [&] {
      Array::Four sizes{}, strides{};
      for (std::size_t i = 0; i < 4; ++i) {
        sizes[i] = 1 + drawn(3);
        // Often strides of a common array, sometimes any, backwards or shared.
        strides[i] = n % 3 == 0 ? drawn(40) - 12 : 6 * (1 + drawn(5));
      }
      if (n % 2 == 0) strides[3] = 1;
      return Array(middle + drawn(60), sizes, strides);
    };
    const Array a = array(), b = array();
    const bool expected = share(a, b);
    REQUIRE(detail::overlap(a, b) == expected);
    REQUIRE(detail::overlap(b, a) == expected);
    const auto first = detail::footprint_of(a), other = detail::footprint_of(b);
    overlapping += expected;
    interleaved += !expected && first.first < other.end() && other.first < first.end();
  }
  CHECK(overlapping > 2000);
  CHECK(interleaved > 2000);
}

TEST_CASE("Reads may lie beside inputs in one array, and not on them") {
  // q, k, v and the reads side by side in one array, [B, T, 4, H, D].
  constexpr Index batch = 2, tokens = 6, heads = 3, size = 4;
  std::vector<double> memory(batch * tokens * 4 * heads * size, 0.25);
  const auto part = [&](Index which) {
    return HeadArray<double>(memory.data() + which * heads * size, {batch, tokens, heads, size},
                             {tokens * 4 * heads * size, 4 * heads * size, size, 1});
  };
  const BatchInputs<double> in{.q = part(0), .k = part(1), .v = part(2)};
  chunkwise<double>(in, part(3));
  const std::vector<double> before = memory;
  const char* const names[] = {"q", "k", "v"};
  BatchStates<double> states(batch * heads, LogLinearState<double>(1, size, size));
  for (Index which = 0; which < 3; ++which) {
    const auto refused = [&](auto call) {
      CHECK(test::mentions(test::error_of(call),
                           {"the memory of out is shared with", names[which], "be its own"}));
      CHECK(memory == before);
    };
    refused([&] { chunkwise<double>(in, part(which)); });
    refused([&] { chunkwise<double>(in, part(which), states); });
    refused([&] { recurrent<double>(in, part(which), states); });
  }
  // A step, of one token.
  std::vector<double> token(3 * heads * size, 0.25);
  const auto of_token = [&](Index which) {
    return HeadArray<double>::bthd(token.data() + which * heads * size, 1, 1, heads, size);
  };
  const BatchInputs<double> one{.q = of_token(0), .k = of_token(1), .v = of_token(2)};
  states.resize(heads, LogLinearState<double>(1, size, size));
  CHECK(test::mentions(test::error_of([&] { step<double>(one, of_token(1), states); }),
                       {"the memory of out is shared with k"}));
  StreamPool<double> pool({.heads = heads, .d_k = size, .d_v = size, .max_levels = 1});
  const std::vector<Index> streams{pool.add()};
  CHECK(test::mentions(test::error_of([&] { pool.step(streams, one, of_token(2)); }),
                       {"the memory of out is shared with v"}));
  CHECK(pool.size(streams[0]) == 0);
}

TEST_CASE("Gradients may take the place of what they are gradients of, and not of each other") {
  constexpr Index tokens = 70, heads = 2, size = 3;
  test::Random random(5);
  const auto drawn = [&] {
    std::vector<double> numbers(tokens * heads * size);
    for (double& number : numbers) number = random.number();
    return numbers;
  };
  std::vector<double> q = drawn(), k = drawn(), v = drawn(), d_out = drawn(), d_q(q), d_k(k),
                      d_v(v);
  const auto array = [&](std::vector<double>& numbers) {
    return HeadArray<double>::bthd(numbers.data(), 1, tokens, heads, size);
  };
  const BatchInputs<double> in{.q = array(q), .k = array(k), .v = array(v)};
  std::vector<double> out(q);
  BatchTape<double> tape;
  chunkwise<double>(in, array(out), {}, &tape);
  chunkwise_gradient<double>(in, tape, array(d_out),
                             {.q = array(d_q), .k = array(d_k), .v = array(d_v)});
  const std::vector<double> before = d_out;
  CHECK(test::error_of([&] {
          chunkwise_gradient<double>(in, tape, array(d_out), {.q = array(out), .k = array(out)});
        }).find("is shared with that of") != std::string::npos);
  CHECK(d_out == before);
  chunkwise_gradient<double>(in, tape, array(d_out),
                             {.q = array(q), .k = array(d_out), .v = array(v)});
  CHECK(q == d_q);
  CHECK(d_out == d_k);
  CHECK(v == d_v);
}
