// SPDX-License-Identifier: MIT
// The family of mLSTM as published, made by make_rule_cases.py: exponential gates around the forms
// of a sequence, their gradients, and a stream of single tokens.

#include <cmath>
#include <limits>
#include <string>

#include "families.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {
namespace {

using Eigen::Index;
using Gates = ExponentialGates<double>;

void check_gated_forms(const Case& golden, Comparison& compare) {
  const auto array = [&](const char* name) { return golden.matrix(name); };
  const RowMajor q = array("q"), k = array("k"), v = array("v"), lambda = array("lambda");
  const Gates gates(array("log_input"), array("log_forget"));
  const SequenceInputs<double> in{
      .q = q, .k = gates.keys(k), .v = gates.values(v), .lambda = lambda, .g = gates.log_decay};
  compare.array(golden, "out", gates.outputs(dense(in)), " dense");
  LogLinearState<double> state(static_cast<int>(lambda.cols()), in.d_k(), in.d_v());
  compare.array(golden, "out", gates.outputs(recurrent(in, state)), " recurrent");
  for (const Index chunk : {1, 4, 64}) {
    const RowMajor reads = chunkwise(in, {chunk});
    compare.array(golden, "out", gates.outputs(reads), " chunkwise");
    const auto d = chunkwise_gradient(in, gates.outputs_gradient(reads, array("d_out")), {chunk});
    compare.array(golden, "d_q", d.q);
    compare.array(golden, "d_k", gates.input.col(0).asDiagonal() * d.k);
    compare.array(golden, "d_v", d.v.leftCols(v.cols()));
    compare.array(golden, "d_lambda", d.lambda);
    compare.array(golden, "d_log_input", in.k.cwiseProduct(d.k).rowwise().sum());
    compare.array(golden, "d_log_forget", d.g);
  }
}

/// A token at a time through a state, whose stabiliser is one number.
void check_stream(const Case& golden, Comparison& compare) {
  const RowMajor q = golden.matrix("q"), k = golden.matrix("k"), v = golden.matrix("v"),
                 lambda = golden.matrix("lambda"), log_input = golden.matrix("log_input"),
                 log_forget = golden.matrix("log_forget");
  LogLinearState<double> state(static_cast<int>(lambda.cols()), k.cols(), v.cols() + 1);
  RowMajor out(q.rows(), v.cols());
  double m = -std::numeric_limits<double>::infinity();
  for (Index t = 0; t < q.rows(); ++t) {
    const Gates gates(log_input.row(t), log_forget.row(t), m);
    m = gates.log_scale(0, 0);
    ScalarDecay<double> decay(k.cols(), v.cols() + 1);
    decay.decay = std::exp(gates.log_decay(0, 0));
    state.undergo(decay);
    const Eigen::VectorXd key = gates.keys(k.row(t)).transpose(),
                          value = gates.values(v.row(t)).transpose();
    Eigen::VectorXd weights = Eigen::VectorXd::Zero(lambda.cols()), reads(v.cols() + 1);
    weights.head(lambda.cols() - 1) = lambda.row(t).tail(lambda.cols() - 1).transpose();
    state.query_mixed(q.row(t), weights, reads);
    reads += lambda(t, 0) * q.row(t).dot(key) * value;
    state.push_leaf(key, value);
    out.row(t) = gates.outputs(RowMajor(reads.transpose()));
  }
  compare.array(golden, "out", out, " token by token");
}

}  // namespace

void replay_mlstm(const Case& golden, Comparison& compare) {
  check_gated_forms(golden, compare);
  check_stream(golden, compare);
}

}  // namespace loglinear::test
