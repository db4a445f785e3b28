// SPDX-License-Identifier: MIT
// Mamba-3's recurrence from the operation on tensors, beside the same from arrays.

#include "tensors.hpp"

#include "catch.hpp"
#include "loglinear/sequence.hpp"

using namespace loglinear;
using namespace loglinear::test;
using at::Tensor;

namespace {

constexpr std::int64_t tokens = 37, d_k = 4, d_v = 3;

struct Parts {
  Tensor q, k, v, lambda, log_decay, dt, mix, angles;  // [1, T, 1, ...], gates [1, T, 1]

  [[nodiscard]] std::vector<Tensor> all() const {
    return {q, k, v, lambda, log_decay, dt, mix, angles};
  }
};

/// As docs/torch.md shows it.
Tensor from_tensors(const Parts& x) {
  const Tensor phase = x.angles.cumsum(1), c = phase.cos(), s = phase.sin();
  const auto turned = [&](const Tensor& rows) {
    const Tensor a = rows.slice(3, 0, d_k, 2), b = rows.slice(3, 1, d_k, 2);
    return at::stack({c * a + s * b, c * b - s * a}, 4).flatten(3);
  };
  const auto earlier = [&](const Tensor& rows) {
    return at::constant_pad_nd(rows, {0, 0, 0, 0, 1, -1});
  };
  const Tensor own = (x.mix * x.dt).unsqueeze(3),
               other = ((1 - x.mix) * x.dt * x.log_decay.exp()).unsqueeze(3);
  const Tensor keys = turned(x.k);
  return loglinear::chunkwise({.q = turned(x.q),
                               .k = at::stack({own * keys, other * earlier(keys)}, 2).flatten(1, 2),
                               .v = at::stack({x.v, earlier(x.v)}, 2).flatten(1, 2),
                               .lambda = x.lambda,
                               .g = x.log_decay});
}

using Rows = detail::RowMajorMatrix<double>;
Rows rows_of(const Tensor& tensor) {
  const Tensor flat = tensor.detach().flatten(2).squeeze(0).contiguous();
  return Eigen::Map<const Rows>(flat.data_ptr<double>(), flat.size(0), flat.size(1));
}
double difference(const Tensor& tensor, const Rows& rows) {
  return (rows_of(tensor) - rows).cwiseAbs().maxCoeff();
}

}  // namespace

TEST_CASE("Mamba-3 from tensors is Mamba-3 from arrays, with all gradients") {
  at::manual_seed(9);
  const auto drawn = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
  Parts x{drawn({1, tokens, 1, d_k}),           drawn({1, tokens, 1, d_k}),
          drawn({1, tokens, 1, d_v}),           drawn({1, tokens, 1, 7}).abs(),
          -at::softplus(drawn({1, tokens, 1})), at::softplus(drawn({1, tokens, 1})),
          at::sigmoid(drawn({1, tokens, 1})),   drawn({1, tokens, 1, d_k / 2})};
  for (Tensor tensor : x.all()) tensor.requires_grad_();
  const Tensor out = from_tensors(x), d_out = at::randn_like(out);
  const auto d = torch::autograd::grad({out}, x.all(), {d_out});

  const RotaryPhases<double> phases(rows_of(x.angles));
  const TrapezoidalSteps<double> steps(rows_of(x.log_decay), rows_of(x.dt), rows_of(x.mix));
  const Rows turned = phases.rotated(rows_of(x.k)), lambda = rows_of(x.lambda);
  const SequenceInputs<double> in{.q = phases.rotated(rows_of(x.q)),
                                  .k = steps.keys(turned),
                                  .v = steps.values(rows_of(x.v)),
                                  .lambda = lambda,
                                  .g = steps.log_decay};
  CHECK(difference(out, dense(in)) < 1e-12);
  const auto from = chunkwise_gradient(in, rows_of(d_out));
  const auto d_steps = steps.gradient(turned, from.k, from.g);
  const auto d_q = phases.rotated_gradient(in.q, from.q);
  const auto d_k_rows = phases.rotated_gradient(turned, d_steps.k);
  CHECK(difference(d[0], d_q.rows) < 1e-12);
  CHECK(difference(d[1], d_k_rows.rows) < 1e-12);
  CHECK(difference(d[2], steps.values_gradient(from.v)) < 1e-12);
  CHECK(difference(d[3], from.lambda) < 1e-12);
  CHECK(difference(d[4], d_steps.log_decay) < 1e-12);
  CHECK(difference(d[5], d_steps.dt) < 1e-12);
  CHECK(difference(d[6], d_steps.mix) < 1e-12);
  CHECK(difference(d[7], phases.angles_gradient(d_q.phases + d_k_rows.phases)) < 1e-11);
}
