// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/loglinear.hpp>

int main() {
  using Matrix = Eigen::MatrixXd;
  std::srand(1);
  const Matrix q = Matrix::Random(1000, 16), k = Matrix::Random(1000, 16) / 4;
  const Matrix v = Matrix::Random(1000, 8), lambda = Matrix::Random(1000, 11).cwiseAbs();
  const Matrix g = Matrix::Constant(1000, 1, -0.01), beta = Matrix::Constant(1000, 1, 0.9);
  const loglinear::SequenceInputs<double> in{
      .q = q, .k = k, .v = v, .lambda = lambda, .g = g, .beta = beta};

  // A prompt by matrix products, then token by token: the numbers of one pass.
  loglinear::LogLinearState<double> state(20, 16, 8);
  Matrix out(1000, 8);
  out.topRows(900) = chunkwise(in.slice(0, 900), state);
  for (int t = 900; t < 1000; ++t) out.row(t) = recurrent(in.slice(t, 1), state);
  const bool same = out.isApprox(dense(in), 1e-12);
  std::printf("%d tokens, %d levels active, %s\n", static_cast<int>(state.size()),
              state.active_level_count(), same ? "as one pass" : "not as one pass");

  // The gradient of sum(out * out) / 2 with respect to every input.
  const auto gradients = chunkwise_gradient(in, out);
  Matrix moved = k;
  moved(500, 3) += 1e-5;
  const loglinear::SequenceInputs<double> near{
      .q = q, .k = moved, .v = v, .lambda = lambda, .g = g, .beta = beta};
  const double rise = (chunkwise(near).squaredNorm() - out.squaredNorm()) / 2e-5;
  const bool agrees = std::abs(rise - gradients.k(500, 3)) < 1e-3 * std::abs(rise);
  std::printf("the gradient %s\n", agrees ? "agrees with a difference" : "is wrong");
}
