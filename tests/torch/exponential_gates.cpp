// SPDX-License-Identifier: MIT
// mLSTM as published from the operation on tensors, beside its parallel form written out in
// LibTorch's own operations, gradients by autograd included.

#include "tensors.hpp"

#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"

using namespace loglinear;
using namespace loglinear::test;
using at::Tensor;

namespace {

struct Gated {
  Tensor q, k, v, lambda, log_i, log_f;  // [B, T, H, ...], gates [B, T, H]

  [[nodiscard]] std::vector<Tensor> all() const { return {q, k, v, lambda, log_i, log_f}; }
};

/// As docs/torch.md shows it.
Tensor by_chunks(const Gated& x) {
  const auto tokens = x.q.size(1);
  const Tensor sum = x.log_f.cumsum(1);
  const Tensor m = (sum + std::get<0>((x.log_i - sum).cummax(1))).detach();
  const Tensor before = at::cat({m.narrow(1, 0, 1), m.narrow(1, 0, tokens - 1)}, 1);
  const Tensor reads = chunkwise({.q = x.q,
                                  .k = (x.log_i - m).exp().unsqueeze(3) * x.k,
                                  .v = at::constant_pad_nd(x.v, {0, 1}, 1),
                                  .lambda = x.lambda,
                                  .g = x.log_f + before - m},
                                 {8});
  const Tensor n = reads.narrow(3, x.v.size(3), 1).abs();
  const Tensor least = (-m).exp().clamp_min(1e-37).unsqueeze(3);
  return reads.narrow(3, 0, x.v.size(3)) / at::maximum(n, least);
}

/// Every pair of tokens by itself.
Tensor by_pairs(const Gated& x) {
  const auto batch = x.q.size(0), tokens = x.q.size(1), heads = x.q.size(2);
  Tensor level = at::zeros({tokens, tokens}, at::kLong);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t s = 0; s <= t; ++s) {
      level[t][s] = static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(t ^ s)));
    }
  }
  const Tensor later = at::ones({tokens, tokens}, at::kBool).triu(1).view({1, tokens, tokens, 1});
  const Tensor sum = x.log_f.cumsum(1);
  const Tensor exponent = (sum.unsqueeze(2) - sum.unsqueeze(1) + x.log_i.unsqueeze(1))
                              .masked_fill(later, -std::numeric_limits<double>::infinity());
  const Tensor m = exponent.amax(2).detach();  // [B, T, H]
  const Tensor weight =
      x.lambda.gather(3, level.view({1, tokens, 1, tokens}).expand({batch, tokens, heads, tokens}))
          .permute({0, 1, 3, 2});
  const Tensor score =
      at::einsum("bthd,bshd->btsh", {x.q, x.k}) * weight * (exponent - m.unsqueeze(2)).exp();
  const Tensor n = score.sum(2).abs();
  return at::einsum("btsh,bshd->bthd", {score, x.v}) / at::maximum(n, (-m).exp()).unsqueeze(3);
}

}  // namespace

TEST_CASE("mLSTM from the operation on tensors is its parallel form, with all gradients") {
  at::manual_seed(7);
  const std::int64_t batch = 2, tokens = 37, heads = 2, d_k = 4, d_v = 3;
  for (const double offset : {0.0, 900.0}) {
    const auto drawn = [&](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
    Gated x{
        drawn({batch, tokens, heads, d_k}),         drawn({batch, tokens, heads, d_k}),
        drawn({batch, tokens, heads, d_v}),         drawn({batch, tokens, heads, 7}).abs(),
        offset + 2 * drawn({batch, tokens, heads}), -at::softplus(drawn({batch, tokens, heads}))};
    for (Tensor tensor : x.all()) tensor.requires_grad_();
    const Tensor chunks = by_chunks(x), pairs = by_pairs(x), d_out = at::randn_like(pairs);
    CHECK(at::allclose(chunks, pairs, 1e-10, 1e-10));
    const auto d_chunks = torch::autograd::grad({chunks}, x.all(), {d_out});
    const auto d_pairs = torch::autograd::grad({pairs}, x.all(), {d_out});
    for (std::size_t i = 0; i < d_pairs.size(); ++i) {
      INFO("tensor " << i << ", gates of about exp(" << offset << ")");
      const double largest = d_pairs[i].abs().max().item<double>();
      CHECK(largest > 1e-3);
      CHECK((d_chunks[i] - d_pairs[i]).abs().max().item<double>() <= 1e-9 * largest);
    }
  }
}

TEST_CASE("mLSTM from tensors reads zeros for queries of zeros, however large the gates are") {
  at::manual_seed(8);
  const auto drawn = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
  const Gated x{at::zeros({1, 9, 1, 4}, at::kDouble),
                drawn({1, 9, 1, 4}),
                drawn({1, 9, 1, 3}),
                drawn({1, 9, 1, 5}).abs(),
                900 + drawn({1, 9, 1}),
                -at::softplus(drawn({1, 9, 1}))};
  CHECK(at::equal(by_chunks(x), at::zeros({1, 9, 1, 3}, at::kDouble)));
}
