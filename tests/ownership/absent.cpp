// SPDX-License-Identifier: MIT
// An array without coefficients is absent, whatever its shape: every form gives what it gives
// without that array, and refuses alike where the array is needed.

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "sequence/tokens.hpp"

namespace test = loglinear::test;

using Eigen::Index;
using loglinear::LogLinearState;
using loglinear::SequenceInputs;
using test::Array;
using test::Tokens;

namespace {

constexpr Index length = 21, d_k = 4, d_v = 3;
constexpr int max_levels = 6;

template <class Scalar>
std::vector<Array<Scalar>> empty_shapes() {
  std::vector<Array<Scalar>> shapes;
  for (const auto& [rows, columns] : {std::pair<Index, Index>{0, 0},
                                      {0, 1},
                                      {0, d_k},
                                      {0, d_v},
                                      {1, 0},
                                      {length, 0},
                                      {2 * length, 0},
                                      {length + 1, 0}}) {
    shapes.emplace_back(rows, columns);
  }
  return shapes;
}

/// Everything that every form makes of some inputs, bit by bit; or the error.
template <class Scalar>
std::vector<Array<Scalar>> all_forms(const SequenceInputs<Scalar>& in) {
  std::vector<Array<Scalar>> all;
  const Array<Scalar> d_out = Array<Scalar>::Ones(length, d_v);
  LogLinearState<Scalar> state(max_levels, d_k, d_v), recurrent_state = state;
  const auto initial = state;
  all.push_back(dense(in));
  all.push_back(dense(in, initial));
  all.push_back(chunkwise(in, {.chunk_size = 8}));
  all.push_back(chunkwise(in, state, {.chunk_size = 8}));
  all.push_back(recurrent(in, recurrent_state));
  all.push_back(state.flat_state());
  all.push_back(recurrent_state.flat_state());
  const auto keep = [&](const auto& gradients) {
    test::visit_arrays(gradients, gradients, [&](const char*, const auto& array, const auto&) {
      all.push_back(array.size() > 0 ? array : Array<Scalar>());
    });
    all.push_back(gradients.state);
  };
  keep(chunkwise_gradient(in, d_out));
  keep(chunkwise_gradient(in, initial, d_out));
  const std::vector<Index> cuts = {0, 5, 5, length};
  std::vector<LogLinearState<Scalar>> states(3, initial);
  all.push_back(chunkwise(in, cuts, states));
  all.push_back(states.back().flat_state());
  keep(chunkwise_gradient(in, cuts, std::vector<LogLinearState<Scalar>>(3, initial), d_out));
  LogLinearState<Scalar> pieces = initial;
  all.push_back(chunkwise(in.slice(0, 9), pieces));
  all.push_back(recurrent(in.slice(9, 12), pieces));
  return all;
}

template <class Scalar>
using Member = Array<Scalar> Tokens<Scalar>::*;

template <class Scalar>
void check_optional(const test::Kind& kind, const std::vector<Member<Scalar>>& absent) {
  test::Random random(81);
  auto tokens = test::random_tokens<Scalar>(random, kind, length, d_k, d_v, max_levels + 1);
  for (const Member<Scalar> member : absent) (tokens.*member).resize(0, 0);
  const auto expected = all_forms<Scalar>(tokens.inputs());
  for (const Member<Scalar> member : absent) {
    for (const Array<Scalar>& shape : empty_shapes<Scalar>()) {
      tokens.*member = shape;
      const auto found = all_forms<Scalar>(tokens.inputs());
      CAPTURE(test::name_of(kind), shape.rows(), shape.cols());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CAPTURE(i);
        CHECK(test::same_bits(found[i], expected[i]));
      }
    }
    (tokens.*member).resize(0, 0);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("absent: gates, strengths and updates of any empty shape", "", float, double) {
  using T = Tokens<TestType>;
  using test::Decay;
  using test::Update;
  check_optional<TestType>({}, {&T::g, &T::g_value, &T::beta, &T::u, &T::p});
  check_optional<TestType>({.decay = Decay::scalar, .update = Update::delta},
                           {&T::g_value, &T::u, &T::p});
  check_optional<TestType>({.update = Update::delta, .leaves = 2},
                           {&T::g, &T::g_value, &T::u, &T::p});
  check_optional<TestType>({.decay = Decay::key_rows, .update = Update::rank_one, .updates = 2},
                           {&T::g_value, &T::beta});
  check_optional<TestType>({.decays_values = true}, {&T::g, &T::beta, &T::u, &T::p});
}

TEMPLATE_TEST_CASE("absent: an empty vector for a gate", "", float, double) {
  test::Random random(82);
  auto tokens = test::random_tokens<TestType>(random, {}, length, d_k, d_v, max_levels + 1);
  const test::Vector<TestType> none(0);
  const test::Matrix<TestType> no_columns(length, 0);
  const auto expected = all_forms<TestType>(tokens.inputs());
  const auto found = all_forms<TestType>({.q = tokens.q,
                                          .k = tokens.k,
                                          .v = tokens.v,
                                          .lambda = tokens.lambda,
                                          .g = none,
                                          .g_value = test::Vector<TestType>(),
                                          .beta = no_columns,
                                          .u = test::Matrix<TestType>(0, d_k),
                                          .p = none});
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(test::same_bits(found[i], expected[i]));
  }
}

TEST_CASE("absent: what must be there is asked for by name") {
  test::Random random(83);
  const auto tokens = test::random_tokens<double>(random, {}, length, d_k, d_v, max_levels + 1);
  const auto refused = [&](Member<double> member, const std::vector<std::string>& parts) {
    for (const Array<double>& shape : empty_shapes<double>()) {
      auto wrong = tokens;
      wrong.*member = shape;
      const SequenceInputs<double> in = wrong.inputs();
      const LogLinearState<double> initial(max_levels, d_k, d_v);
      LogLinearState<double> state = initial;
      std::vector<LogLinearState<double>> states(1, initial);
      const Array<double> d_out = Array<double>::Ones(length, d_v);
      CAPTURE(parts[0], shape.rows(), shape.cols());
      std::vector<std::string> errors;
      errors.push_back(test::error_of([&] { static_cast<void>(dense(in)); }));
      errors.push_back(test::error_of([&] { static_cast<void>(dense(in, initial)); }));
      errors.push_back(test::error_of([&] { recurrent(in, state); }));
      errors.push_back(test::error_of([&] { chunkwise(in, state); }));
      errors.push_back(test::error_of([&] { static_cast<void>(chunkwise(in)); }));
      errors.push_back(
          test::error_of([&] { static_cast<void>(chunkwise_gradient(in, initial, d_out)); }));
      errors.push_back(test::error_of([&] { static_cast<void>(chunkwise_gradient(in, d_out)); }));
      errors.push_back(test::error_of([&] { chunkwise(in, {0, length}, states); }));
      for (std::size_t i = 0; i < errors.size(); ++i) {
        CAPTURE(i, errors[i]);
        bool names_one = false;
        for (const std::string& part : parts) {
          if (test::mentions(errors[i], {part})) names_one = true;
        }
        CHECK(names_one);
      }
      CHECK(state == initial);
    }
  };
  refused(&Tokens<double>::q, {"q", "of k is 21", "cu_seqlens"});
  refused(&Tokens<double>::k, {" k "});
  refused(&Tokens<double>::v, {" v ", "of v"});
  refused(&Tokens<double>::lambda, {"lambda"});
}

TEMPLATE_TEST_CASE("absent: everything, and no tokens of given widths", "", float, double) {
  const SequenceInputs<TestType> nothing{};
  CHECK(dense(nothing).rows() == 0);
  CHECK(chunkwise(nothing).rows() == 0);
  LogLinearState<TestType> state(max_levels, d_k, d_v);
  CHECK(chunkwise(nothing, state).rows() == 0);
  CHECK(recurrent(nothing, state).rows() == 0);
  CHECK(chunkwise_gradient(nothing, Array<TestType>()).q.size() == 0);
  for (const Array<TestType>& shape : empty_shapes<TestType>()) {
    if (shape.rows() > 0) continue;
    const SequenceInputs<TestType> in{shape, shape, Array<TestType>(0, d_v), shape, shape};
    CHECK(dense(in).cols() == d_v);
    CHECK(chunkwise(in, state).rows() == 0);
    CHECK(recurrent(in.slice(0, 0), state).rows() == 0);
    std::vector<LogLinearState<TestType>> states;
    CHECK(chunkwise(in, {0}, states).rows() == 0);
    CHECK(state.size() == 0);
  }
  for (const Index width : {Index{1} << 40, Index{1} << 62, std::numeric_limits<Index>::max()}) {
    const Array<TestType> wide(0, width);  // no memory, however wide
    const SequenceInputs<TestType> in{wide, wide, wide, wide};
    CHECK(dense(in).cols() == width);
    CHECK(chunkwise(in).cols() == width);
    CHECK(chunkwise_gradient(in, wide).k.cols() == width);
  }
}
