// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/torch.hpp>

#include <torch/torch.h>

// Gated DeltaNet with a hierarchy of states, four heads of 16.
struct MixerImpl : torch::nn::Module {
  static constexpr int64_t heads = 4, size = 16, levels = 8;  // levels for up to 2^7 tokens
  torch::nn::Linear qkv{nullptr}, gates{nullptr}, out{nullptr};

  explicit MixerImpl(int64_t width)
      : qkv(register_module("qkv", torch::nn::Linear(width, 3 * heads * size))),
        gates(register_module("gates", torch::nn::Linear(width, heads * (levels + 2)))),
        out(register_module("out", torch::nn::Linear(heads * size, width))) {}

  torch::Tensor forward(const torch::Tensor& x) {  // [B, T, width]
    namespace F = torch::nn::functional;
    const auto unit = F::NormalizeFuncOptions().dim(-1);
    const auto qkv_of = qkv(x).unflatten(2, {3, heads, size}).unbind(2);
    const auto gates_of = gates(x).unflatten(2, {heads, levels + 2});
    const auto read = loglinear::chunkwise({
        .q = F::normalize(qkv_of[0], unit),
        .k = F::normalize(qkv_of[1], unit),
        .v = qkv_of[2],
        .lambda = F::softplus(gates_of.narrow(3, 2, levels)),  // without it: one state
        .g = F::logsigmoid(gates_of.select(3, 0) + 4),
        .beta = torch::sigmoid(gates_of.select(3, 1)),
    });
    return out(read.flatten(2));
  }
};
TORCH_MODULE(Mixer);

int main() {
  torch::manual_seed(1);
  Mixer mixer(32);
  torch::optim::AdamW optimizer(mixer->parameters(), torch::optim::AdamWOptions(1e-2));
  const auto x = torch::randn({8, 128, 32}), y = x.roll(3, 1);  // what came three tokens ago
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::mse_loss(mixer(x), y);
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  std::printf("the loss %s\n", last < 0.8 * first ? "falls" : "does not fall");

  try {
    (void)loglinear::chunkwise({.q = x.unsqueeze(2), .k = x.unsqueeze(2), .v = x});
  } catch (const std::invalid_argument& error) {
    std::printf("%s\n", error.what());
  }
}
