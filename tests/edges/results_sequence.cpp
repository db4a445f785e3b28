// SPDX-License-Identifier: MIT
// Finite tokens whose results are not finite: every form of a sequence refuses them by name, and
// what it was given is as it was.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "sequence/tokens.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using test::Array;

constexpr Index length = 40, d_k = 4, d_v = 3;
constexpr std::uint64_t start = 5;
constexpr int max_levels = 7, weights = 8;

template <class Scalar>
bool all_finite(const SequenceGradients<Scalar>& gradients) {
  bool finite = gradients.state.allFinite();
  test::visit_arrays(gradients, gradients, [&](const char*, const auto& array, const auto&) {
    finite = finite && array.allFinite();
  });
  return finite;
}

/// What each form makes of some tokens: the message it refuses them with, or nothing.
struct Errors {
  std::string dense, recurrent, chunkwise, stateless, packed, gradient, stateless_gradient;
};

/// Runs every form, and checks that each refuses the tokens and changes nothing, or returns finite
/// numbers alone.
template <class Scalar>
Errors errors_of(const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& initial) {
  const auto kept = [&](const LogLinearState<Scalar>& state, const std::string& error) {
    return error.empty() ? state.flat_state().allFinite()
                         : state.size() == initial.size() &&
                               test::same_bits(state.flat_state(), initial.flat_state());
  };
  Errors errors;
  const Array<Scalar> d_out = Array<Scalar>::Ones(in.length(), in.d_v());
  bool finite = true;
  const auto read = [&](auto form) {
    return test::error_of([&] { finite = form().allFinite() && finite; });
  };
  const auto differentiate = [&](auto form) {
    return test::error_of([&] { finite = all_finite(form()) && finite; });
  };
  errors.dense = read([&] { return dense(in, initial); });
  LogLinearState<Scalar> state = initial;
  errors.recurrent = read([&] { return recurrent(in, state); });
  CHECK(kept(state, errors.recurrent));
  state = initial;
  SequenceTape<Scalar> tape;
  errors.chunkwise = read([&] { return chunkwise(in, state, {.chunk_size = 16}, &tape); });
  CHECK(kept(state, errors.chunkwise));
  CHECK((errors.chunkwise.empty() || tape.length == 0));
  errors.stateless = read([&] { return chunkwise(in, {.chunk_size = 16}); });
  std::vector<LogLinearState<Scalar>> states{initial, initial};
  errors.packed = read([&] { return chunkwise(in, {0, 3, in.length()}, states); });
  CHECK((errors.packed.empty() || (states[0] == initial && states[1] == initial)));
  errors.gradient = differentiate([&] { return chunkwise_gradient(in, initial, d_out); });
  errors.stateless_gradient = differentiate([&] { return chunkwise_gradient(in, d_out); });
  CHECK(finite);
  return errors;
}

template <class Scalar>
test::Tokens<Scalar> tokens_of(const test::Kind& kind, std::uint64_t seed) {
  test::Random random(seed);
  auto tokens = test::random_tokens<Scalar>(random, kind, length, d_k, d_v, weights);
  tokens.lambda.setOnes();
  return tokens;
}
template <class Scalar>
LogLinearState<Scalar> initial_state() {
  test::Random random(62);
  return test::random_state<Scalar>(random, start, max_levels, d_k, d_v);
}

/// A number whose square is out of the scalar's range.
template <class Scalar>
Scalar huge() {
  return std::is_same_v<Scalar, float> ? Scalar(1e30) : Scalar(1e200);
}

template <class Scalar>
void refused_by_all(const test::Tokens<Scalar>& tokens) {
  const Errors errors = errors_of(tokens.inputs(), initial_state<Scalar>());
  for (const std::string& error :
       {errors.dense, errors.recurrent, errors.chunkwise, errors.stateless, errors.packed,
        errors.gradient, errors.stateless_gradient}) {
    CAPTURE(error);
    CHECK(test::mentions(error, {" is ", "must be"}));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Leaves, queries and gates too large for their result are refused by all forms",
                   "", float, double) {
  using Scalar = TestType;
  using test::Decay;
  using test::Update;
  const bool is_float = std::is_same_v<Scalar, float>;
  SECTION("keys and values") {
    auto tokens = tokens_of<Scalar>({Decay::scalar}, 1);
    tokens.k.setConstant(huge<Scalar>());
    tokens.v.setConstant(huge<Scalar>());
    refused_by_all(tokens);
  }
  SECTION("queries") {
    auto tokens = tokens_of<Scalar>({Decay::none}, 2);
    tokens.q.setConstant(huge<Scalar>());
    tokens.k.setConstant(std::sqrt(huge<Scalar>()));
    tokens.v.setConstant(std::sqrt(huge<Scalar>()));
    refused_by_all(tokens);
  }
  SECTION("log decays above 0") {
    auto tokens = tokens_of<Scalar>({Decay::scalar}, 3);
    tokens.g.setConstant(is_float ? Scalar(80) : Scalar(700));
    refused_by_all(tokens);
  }
  SECTION("log decays above 0 of key rows and value columns") {
    auto tokens = tokens_of<Scalar>({Decay::key_rows, true}, 4);
    tokens.g_value.setConstant(is_float ? Scalar(60) : Scalar(600));
    tokens.g.setConstant(is_float ? Scalar(30) : Scalar(120));
    refused_by_all(tokens);
  }
  SECTION("strengths of the delta rule") {
    auto tokens = tokens_of<Scalar>({Decay::none, false, Update::delta}, 5);
    tokens.beta.setConstant(is_float ? Scalar(1e5) : Scalar(1e30));
    refused_by_all(tokens);
  }
  SECTION("updates of rank one") {
    auto tokens = tokens_of<Scalar>({Decay::none, false, Update::rank_one, 1, 2}, 6);
    tokens.u.setConstant(huge<Scalar>());
    tokens.p.setConstant(huge<Scalar>());
    refused_by_all(tokens);
  }
}

TEMPLATE_TEST_CASE("A message says which result is not finite, and of which token", "", float,
                   double) {
  auto tokens = tokens_of<TestType>({}, 7);
  tokens.q.row(17).setConstant(huge<TestType>());
  tokens.k.row(17).setConstant(huge<TestType>());
  tokens.v.row(17).setConstant(TestType(1));
  const Errors errors = errors_of(tokens.inputs(), initial_state<TestType>());
  for (const std::string& error :
       {errors.dense, errors.recurrent, errors.chunkwise, errors.stateless}) {
    CHECK(test::mentions(error, {"the read of token 17", "finite"}));
  }
}

TEMPLATE_TEST_CASE("Tokens of any size are refused, or everything that comes of them is finite", "",
                   float, double) {
  using Scalar = TestType;
  test::Random random(63);
  const double digits = std::is_same_v<Scalar, float> ? 37 : 307;
  const auto kinds = test::all_kinds();
  int refused = 0, taken = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const auto& kind =
        kinds[static_cast<std::size_t>(random.below(static_cast<int>(kinds.size())))];
    INFO(test::name_of(kind));
    auto tokens = tokens_of<Scalar>(kind, static_cast<std::uint64_t>(trial) + 100);
    const auto stretch = [&](auto& array) {
      if (array.size() == 0 || random.below(3) != 0) return;
      array *= static_cast<Scalar>(std::pow(10., random.number(-digits, digits)));
    };
    stretch(tokens.q);
    stretch(tokens.k);
    stretch(tokens.v);
    stretch(tokens.lambda);
    stretch(tokens.beta);
    stretch(tokens.u);
    stretch(tokens.p);
    if (random.below(4) == 0) tokens.g *= -Scalar(random.number(1, 2 * digits));
    if (random.below(4) == 0) tokens.g_value *= -Scalar(random.number(1, 2 * digits));
    const Errors errors = errors_of(tokens.inputs(), initial_state<Scalar>());
    (errors.chunkwise.empty() ? taken : refused) += 1;
  }
  CHECK(refused > 40);
  CHECK(taken > 40);
}
