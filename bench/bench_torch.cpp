// SPDX-License-Identifier: MIT
// A training step of attention in LibTorch, forward and backward, one sequence of 4 heads, float:
// the operation of loglinear/torch.hpp, the same heads without LibTorch, and causal softmax
// attention of LibTorch's own operations. One thread, processor time.
//
// Counters (medians of the rounds): token_ns, the operation, per token and head; bare_ns,
// `chunkwise` and `chunkwise_gradient` of each head; over_bare, their ratio; softmax_ns;
// over_softmax, how many times as long softmax takes.

#include "loglinear/torch.hpp"

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <cmath>
#include <string>
#include <vector>

#include "samples.hpp"
#include "sequence_data.hpp"

namespace {

using namespace loglinear;
using bench::Index;
using bench::Rule;
using Matrix = bench::SequenceData<float>::Matrix;

constexpr std::int64_t heads = 4;

/// [1, rows, H, columns], every head the same.
at::Tensor tensor_of(const Matrix& rows) {
  if (rows.size() == 0) return {};
  const at::Tensor head =
      torch::from_blob(const_cast<float*>(rows.data()), {1, rows.rows(), 1, rows.cols()});
  return head.repeat({1, 1, heads, 1}).requires_grad_(true);
}

at::Tensor softmax_attention(const TensorInputs& in, const at::Tensor& later) {
  const at::Tensor scores = torch::matmul(in.q.transpose(1, 2), in.k.permute({0, 2, 3, 1}));
  const at::Tensor weights = torch::softmax(scores.masked_fill(later, -INFINITY), -1);
  return torch::matmul(weights, in.v.transpose(1, 2)).transpose(1, 2);
}

bool is_close(const at::Tensor& tensor, const Matrix& rows) {
  const at::Tensor head =
      torch::from_blob(const_cast<float*>(rows.data()), {rows.rows(), rows.cols()});
  return torch::allclose(tensor.select(0, 0).select(1, heads - 1), head, 1e-4, 1e-4);
}

void train(benchmark::State& state, Rule rule) {
  at::set_num_threads(1);
  loglinear::set_thread_count(1);
  const Index length = state.range(0), d = state.range(1);
  const auto data = bench::random_sequence(rule, length, d);
  TensorInputs in{.q = tensor_of(data.q),
                  .k = tensor_of(data.k),
                  .v = tensor_of(data.v),
                  .lambda = tensor_of(data.lambda)};
  if (data.g.size() > 0) in.g = tensor_of(data.g).squeeze(3).detach().requires_grad_(true);
  if (data.beta.size() > 0) in.beta = tensor_of(data.beta).squeeze(3).detach().requires_grad_(true);
  const at::Tensor later = torch::ones({length, length}, torch::kBool).triu(1);
  const at::Tensor d_out = torch::ones({1, length, heads, d});
  const Matrix d_head = Matrix::Ones(length, d);
  const std::vector<at::Tensor> wanted = loglinear::detail::GivenTensors(in).list(in);

  std::vector<at::Tensor> gradients, softmax_gradients;
  at::Tensor out, softmax;
  Matrix head;
  SequenceGradients<float> of_head;
  bench::Samples token_ns, bare_ns, over_bare, softmax_ns, over_softmax;
  for (auto _ : state) {
    const double token = bench::processor_nanoseconds([&] {
      out = chunkwise(in);
      gradients = torch::autograd::grad({out}, wanted, {d_out});
    });
    const double bare = bench::processor_nanoseconds([&] {
      for (std::int64_t h = 0; h < heads; ++h) {
        SequenceTape<float> tape;
        head = chunkwise(data.inputs(), {}, &tape);
        of_head = chunkwise_gradient(data.inputs(), tape, d_head);
      }
    });
    const double rival = bench::processor_nanoseconds([&] {
      softmax = softmax_attention(in, later);
      softmax_gradients = torch::autograd::grad({softmax}, {in.q, in.k, in.v}, {d_out});
    });
    const auto tokens = static_cast<double>(length * heads);
    token_ns.add(token / tokens);
    bare_ns.add(bare / tokens);
    over_bare.add(token / bare);
    softmax_ns.add(rival / tokens);
    over_softmax.add(rival / token);
  }
  const bool is_right =
      is_close(out, head) && is_close(gradients[0], of_head.q) &&
      is_close(gradients[1], of_head.k) && is_close(gradients[2], of_head.v) &&
      is_close(gradients[3], of_head.lambda) &&
      torch::allclose(softmax.select(1, 0), in.v.select(1, 0)) &&  // the first token sees itself
      torch::allclose(softmax_gradients[2].sum(1), d_out.sum(1), 1e-4, 1e-4);  // weights are a mean
  if (!is_right) state.SkipWithError("a wrong result");
  state.counters["token_ns"] = token_ns.median();
  state.counters["bare_ns"] = bare_ns.median();
  state.counters["over_bare"] = over_bare.median();
  state.counters["softmax_ns"] = softmax_ns.median();
  state.counters["over_softmax"] = over_softmax.median();
}

void sizes(benchmark::internal::Benchmark* run) {
  run->ArgNames({"T", "d"})->Args({256, 64})->Args({1024, 64})->Args({4096, 64})->Iterations(9);
  run->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(train, scalar_gate, Rule::scalar_gate)->Apply(sizes);
BENCHMARK_CAPTURE(train, gated_delta, Rule::gated_delta)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
