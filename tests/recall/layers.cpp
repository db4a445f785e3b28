// SPDX-License-Identifier: MIT
// The fused operations of examples/recall beside the same made of LibTorch's own.

#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "decay_gate.hpp"
#include "fused.hpp"
#include "model.hpp"

namespace {

using torch::Tensor;

/// Outputs and gradients are sums of up to `terms` products of numbers of order 1 to 10, each
/// rounded a few times.
void check_near(const Tensor& a, const Tensor& b, double terms) {
  const double bound = 10 * terms * std::numeric_limits<float>::epsilon();
  REQUIRE(a.sizes() == b.sizes());
  CHECK((a - b).abs().max().item<double>() <= bound);
}

/// The value and the gradients of two functions of x and a weight, for the same gradient of the
/// value.
template <class One, class Other>
void check_same(const Tensor& x, const Tensor& weight, double terms, One&& one, Other&& other) {
  const Tensor w = weight.requires_grad_();
  const Tensor y = one(x, w), z = other(x, w);
  check_near(y, z, 10);
  const Tensor d = torch::randn_like(y);
  const auto a = torch::autograd::grad({y}, {x, w}, {d});
  const auto b = torch::autograd::grad({z}, {x, w}, {d});
  check_near(a[0], b[0], 10);
  check_near(a[1], b[1], terms);
}

Tensor padded_sum(const Tensor& x, const Tensor& weight) {
  const std::int64_t taps = weight.size(0);
  const Tensor padded = torch::constant_pad_nd(x, {0, 0, taps - 1, 0});
  Tensor y = torch::zeros_like(x);
  for (std::int64_t i = 0; i < taps; ++i) y = y + padded.narrow(1, i, x.size(1)) * weight[i];
  return y;
}

}  // namespace

TEST_CASE("a head begins to forget in the tokens that it is told, the next one in half of them") {
  for (const double memory : {1.0, 200.0, 20000.0}) {
    const Tensor step = torch::softplus(learning::initial_dt_bias(3));
    const Tensor rate = learning::initial_a_log(3, memory).exp();
    const Tensor kept = torch::exp(-rate * step * memory);
    for (int h = 0; h < 3; ++h) {
      CHECK(kept[h].item<double>() == Approx(std::exp(-1.0 - h)).epsilon(1e-5));
    }
  }
}

TEST_CASE("the fused norm is the norm") {
  torch::manual_seed(1);
  const Tensor x = torch::randn({3, 5, 8}).requires_grad_();
  check_same(
      x, torch::randn({8}), 15,
      [](const Tensor& a, const Tensor& w) { return learning::rms_norm(a, w, 1e-3); },
      [](const Tensor& a, const Tensor& w) {
        return a * torch::rsqrt(a.square().mean(-1, true) + 1e-3) * w;
      });
}

TEST_CASE("the fused convolution is the convolution, also of a part of the channels") {
  torch::manual_seed(2);
  for (const std::int64_t length : {1, 2, 3, 4, 9}) {
    const Tensor whole = torch::randn({2, length, 10}).requires_grad_();
    check_same(whole.narrow(2, 3, 6), torch::randn({4, 6}), 18, learning::causal_convolution,
               padded_sum);
  }
}

TEST_CASE("every model is causal: a later token changes no earlier logit") {
  struct Kind {
    const char* mixer;
    const char* weighting;
  };
  for (const Kind kind : std::vector<Kind>{{"softmax", "one_state"},
                                           {"mamba2", "one_state"},
                                           {"mamba2", "softplus"},
                                           {"gated_delta_net", "mixture"},
                                           {"gated_delta_net", "mlp"}}) {
    CAPTURE(kind.mixer, kind.weighting);
    torch::manual_seed(3);
    learning::Model model(
        learning::ModelShape{.vocabulary = 11,
                             .mixer = kind.mixer,
                             .weighting = kind.weighting,
                             .sizes = {.d_model = 8, .heads = 2, .d_k = 4, .d_v = 4, .levels = 5}});
    const Tensor tokens = torch::randint(11, {2, 13}), positions = torch::arange(26);
    const Tensor before = model(tokens, positions).view({2, 13, 11});
    const Tensor changed = tokens.clone();
    changed.select(1, 7).add_(1).remainder_(11);
    const Tensor after = model(changed, positions).view({2, 13, 11});
    CHECK(torch::equal(before.narrow(1, 0, 7), after.narrow(1, 0, 7)));
    CHECK_FALSE(torch::equal(before.select(1, 7), after.select(1, 7)));
    CHECK_FALSE(torch::equal(before.select(1, 12), after.select(1, 12)));  // it is remembered
    // Every weight matters.
    after.square().sum().backward();
    for (const auto& item : model->named_parameters()) {
      CAPTURE(item.key());
      REQUIRE(item.value().grad().defined());
      CHECK(item.value().grad().abs().max().item<double>() > 0);
    }
  }
}
