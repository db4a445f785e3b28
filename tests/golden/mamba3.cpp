// SPDX-License-Identifier: MIT
// The family of Mamba-3 as published, made by make_rule_cases.py: rotary phases and trapezoidal
// steps around the forms of a sequence, their gradients, and a stream in pieces.

#include <algorithm>

#include "families.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {
namespace {

using Eigen::Index;
using Phases = RotaryPhases<double>;
using Steps = TrapezoidalSteps<double>;

struct Arrays {
  explicit Arrays(const Case& golden)
      : q(golden.matrix("q")),
        k(golden.matrix("k")),
        v(golden.matrix("v")),
        lambda(golden.matrix("lambda")),
        log_decay(golden.matrix("log_decay")),
        dt(golden.matrix("dt")),
        mix(golden.matrix("mix")),
        angles(golden.matrix("angles")) {}
  RowMajor q, k, v, lambda, log_decay, dt, mix, angles;
};

void check_forms(const Case& golden, Comparison& compare) {
  const Arrays x(golden);
  const Phases phases(x.angles);
  const Steps steps(x.log_decay, x.dt, x.mix);
  const RowMajor turned = phases.rotated(x.k);
  const SequenceInputs<double> in{.q = phases.rotated(x.q),
                                  .k = steps.keys(turned),
                                  .v = steps.values(x.v),
                                  .lambda = x.lambda,
                                  .g = steps.log_decay};
  compare.array(golden, "out", dense(in), " dense");
  for (const Index chunk : {1, 4, 64}) {
    compare.array(golden, "out", chunkwise(in, {chunk}), " chunkwise");
    const auto d = chunkwise_gradient(in, golden.matrix("d_out"), {chunk});
    const auto d_steps = steps.gradient(turned, d.k, d.g);
    const auto d_q = phases.rotated_gradient(in.q, d.q);
    const auto d_k = phases.rotated_gradient(turned, d_steps.k);
    compare.array(golden, "d_q", d_q.rows);
    compare.array(golden, "d_k", d_k.rows);
    compare.array(golden, "d_v", steps.values_gradient(d.v));
    compare.array(golden, "d_lambda", d.lambda);
    compare.array(golden, "d_log_decay", d_steps.log_decay);
    compare.array(golden, "d_dt", d_steps.dt);
    compare.array(golden, "d_mix", d_steps.mix);
    compare.array(golden, "d_angles", phases.angles_gradient(d_q.phases + d_k.phases));
  }
}

/// A stream in pieces of some tokens: what it carries besides its state are the last phases, keys
/// and values.
void check_stream(const Case& golden, Comparison& compare, Index piece) {
  const Arrays x(golden);
  const Index tokens = x.q.rows(), each = x.k.rows() / tokens;
  LogLinearState<double> state(static_cast<int>(x.lambda.cols()), x.q.cols(), x.v.cols());
  RowMajor out(tokens, x.v.cols()), phase, key, value;
  for (Index t = 0; t < tokens; t += piece) {
    const Index count = std::min(piece, tokens - t);
    const auto some = [&](const RowMajor& rows) { return RowMajor(rows.middleRows(t, count)); };
    const Phases phases(some(x.angles), phase);
    const Steps steps(some(x.log_decay), some(x.dt), some(x.mix));
    const RowMajor turned = phases.rotated(RowMajor(x.k.middleRows(t * each, count * each)));
    const RowMajor values = x.v.middleRows(t * each, count * each);
    const SequenceInputs<double> in{.q = phases.rotated(some(x.q)),
                                    .k = steps.keys(turned, key),
                                    .v = steps.values(values, value),
                                    .lambda = some(x.lambda),
                                    .g = steps.log_decay};
    out.middleRows(t, count) = recurrent(in, state);
    phase = phases.phases.bottomRows(1);
    key = turned.bottomRows(each);
    value = values.bottomRows(each);
  }
  compare.array(golden, "out", out, " in pieces of " + std::to_string(piece));
}

}  // namespace

void replay_mamba3(const Case& golden, Comparison& compare) {
  check_forms(golden, compare);
  for (const Index piece : {1, 5, 64}) check_stream(golden, compare, piece);
}

}  // namespace loglinear::test
