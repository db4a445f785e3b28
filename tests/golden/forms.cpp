// SPDX-License-Identifier: MIT
// The families of whole sequences through the sequence form: reads and final states by all three
// forms, gradients by the chunkwise one.

#include <cmath>
#include <stdexcept>
#include <string>

#include "families.hpp"
#include "sequence/tokens.hpp"

namespace loglinear::test {
namespace {

using Eigen::Index;

/// 1 and 16 cut every longer case into chunks, 100 is rounded down to 64.
constexpr Index chunk_sizes[] = {1, 16, 64, 100};

/// A case as the arrays that the sequence form takes.
test::Tokens<double> tokens_of(const Case& golden) {
  const auto rule = golden.get<std::string>("rule");
  test::Tokens<double> tokens;
  tokens.q = golden.matrix("q");
  tokens.k = golden.matrix("k");
  tokens.v = golden.matrix("v");
  tokens.lambda = golden.matrix("lambda");
  if (golden.has("g")) tokens.g = golden.matrix("g");
  if (golden.has("beta")) tokens.beta = golden.matrix("beta");
  if (rule == "input_gate") {
    tokens.k.array().colwise() *= golden.matrix("i").col(0).array();
  } else if (rule == "rwkv7") {
    tokens.g = golden.matrix("w").array().log();
    tokens.p = golden.matrix("kappa");
    tokens.u = golden.matrix("a").cwiseProduct(tokens.p);
  } else if (rule == "delta_product") {  // n keys and values a token: a row each
    const Index rows = tokens.beta.size(), d_k = golden.shape("k")[2], d_v = golden.shape("v")[2];
    tokens.k = RowMajor(Eigen::Map<const RowMajor>(tokens.k.data(), rows, d_k));
    tokens.v = RowMajor(Eigen::Map<const RowMajor>(tokens.v.data(), rows, d_v));
  } else if (rule != "plain" && rule != "scalar_gate" && rule != "vector_gate" && rule != "delta" &&
             rule != "gated_delta" && rule != "kda") {
    throw std::runtime_error("unknown rule " + rule);
  }
  return tokens;
}

/// The levels of a state after the last push. On record are the levels that the last token read:
/// its own leaf, which the carry takes to the first free level, and the older ones.
RowMajor levels_after_push(const Case& golden) {
  const RowMajor read = golden.matrix("final_levels");
  const auto earlier = static_cast<std::uint64_t>(golden.shape("q")[0]) - 1;
  RowMajor pushed = RowMajor::Zero(read.rows(), read.cols());
  Eigen::RowVectorXd carry = read.row(0);
  Index l = 0;
  for (; ((earlier >> l) & 1u) != 0; ++l) carry += read.row(l + 1);
  pushed.row(l) = carry;
  for (++l; l + 1 < read.rows(); ++l) pushed.row(l) = read.row(l + 1);
  return pushed;
}

RowMajor levels_of(const LogLinearState<double>& state) {
  return Eigen::Map<const RowMajor>(state.flat_state().data(), state.max_levels(),
                                    state.d_k() * state.d_v());
}

}  // namespace

void compare_forms(const Case& golden, Comparison& compare) {
  const test::Tokens<double> tokens = tokens_of(golden);
  const SequenceInputs<double> in = tokens.inputs();
  // As many levels as lambda has columns are enough for the final state as well.
  const LogLinearState<double> empty(static_cast<int>(in.lambda.cols()), in.d_k(), in.d_v());
  const bool has_levels = golden.has("final_levels") && in.length() > 0;
  const RowMajor levels = has_levels ? levels_after_push(golden) : RowMajor();
  const auto check = [&](const std::string& form, const RowMajor& reads) {
    compare.array(golden, "o", reads, form);
  };
  const auto check_final = [&](const std::string& form, const LogLinearState<double>& state) {
    if (has_levels) compare.numbers("final_levels" + form, levels, levels_of(state));
  };

  check(" dense", dense(in, empty));
  LogLinearState<double> state = empty;
  check(" recurrent", recurrent(in, state));
  check_final(" recurrent", state);
  for (const Index chunk_size : chunk_sizes) {
    const std::string form = " chunkwise " + std::to_string(chunk_size);
    state = empty;
    check(form, chunkwise(in, state, {chunk_size}));
    check_final(form, state);
    check(form, chunkwise(in, {chunk_size}));
  }
}

void replay_grad(const Case& golden, Comparison& compare) {
  const test::Tokens<double> tokens = tokens_of(golden);
  const SequenceInputs<double> in = tokens.inputs();
  const RowMajor d_o = golden.matrix("d_o");
  if (golden.has("o")) compare_forms(golden, compare);
  for (const char* other : {"d_i", "d_w", "d_a", "d_kappa"}) {
    if (golden.has(other)) throw std::runtime_error(std::string("no gradient ") + other);
  }
  const LogLinearState<double> empty(static_cast<int>(in.lambda.cols()), in.d_k(), in.d_v());
  for (const Index chunk_size : chunk_sizes) {
    const std::string form = " chunkwise " + std::to_string(chunk_size);
    const SequenceGradients<double> gradients = chunkwise_gradient(in, empty, d_o, {chunk_size});
    test::visit_arrays(gradients, tokens, [&](const char* name, const RowMajor& gradient, auto&) {
      const std::string on_record = std::string("d_") + name;
      if (golden.has(on_record)) compare.array(golden, on_record, gradient, form);
    });
  }
}

}  // namespace loglinear::test
