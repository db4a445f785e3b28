// SPDX-License-Identifier: MIT
// What autograd gets, against central differences of the reads: every kind of input, every tensor,
// every coefficient, with level weights and with one state. LibTorch's gradcheck exists in Python
// alone: the differences are taken here, of the operation as it is called, in double.

#include "tensors.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "catch.hpp"
#include "oracles/differences.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr double relative_tolerance = 1e-6;  // max|a - b| / max|b| for each tensor

/// Fourth order, as in law/sequence_gradients.cpp: truncation and rounding are both some 1e-12.
constexpr double step = 1e-3;

void check_gradients(const Kind& kind, bool has_levels, const loglinear::ChunkwiseOptions& options,
                     std::uint64_t seed) {
  INFO(name_of(kind) << (has_levels ? "" : ", one state") << ", seed " << seed);
  const Shape shape{.batches = 2, .tokens = 7, .heads = 2, .d_k = 3, .d_v = 2};
  TensorInputs in = with_gradients(random_tensors(seed, kind, shape));
  if (!has_levels) in.lambda = at::Tensor();
  test::Random random(seed + 1);
  const at::Tensor out = chunkwise(in, options);
  REQUIRE(out.sizes() == at::IntArrayRef{2, 7, 2, 2});
  at::Tensor d_out = at::empty_like(out);
  for (Index i = 0; i < d_out.numel(); ++i) d_out.data_ptr<double>()[i] = random.number();
  const loglinear::detail::GivenTensors given(in);
  const std::vector<at::Tensor> inputs = given.list(in);
  const auto gradients = torch::autograd::grad({out}, inputs, {d_out});

  const at::NoGradGuard no_grad;
  const auto loss = [&] { return (chunkwise(in, options) * d_out).sum().item<double>(); };
  for (std::size_t n = 0; n < inputs.size(); ++n) {
    INFO("tensor " << n << " of those given");
    REQUIRE(gradients[n].sizes() == inputs[n].sizes());
    const at::Tensor gradient = gradients[n].contiguous();
    double* const numbers = inputs[n].data_ptr<double>();
    double worst = 0;
    for (Index i = 0; i < inputs[n].numel(); ++i) {
      const double difference = derivative(step, numbers[i], loss);
      worst = std::max(worst, std::abs(gradient.data_ptr<double>()[i] - difference));
    }
    CHECK(worst <= relative_tolerance * gradient.abs().max().item<double>());
  }
}

}  // namespace

TEST_CASE("autograd's gradients of every kind of input are those of differences", "[torch]") {
  std::uint64_t seed = 100;
  for (const Kind& kind : test::all_kinds()) check_gradients(kind, true, {4}, seed += 10);
}

TEST_CASE("autograd's gradients with one state are those of differences", "[torch]") {
  std::uint64_t seed = 1000;
  for (const Kind& kind : test::all_kinds()) {
    if (kind.updates < 2) check_gradients(kind, false, {2}, seed += 10);
  }
}
