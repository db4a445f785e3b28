// SPDX-License-Identifier: MIT
// The C++ side of exchange.py: reads its tensors, converts them, and writes what became of them.
#include <cstdio>
#include <exception>
#include <string>

#include "loglinear/checkpoint.hpp"
#include "loglinear/rules.hpp"

namespace {

using namespace loglinear;
using Layer = LogLinearAttention<GLA, float>;

Layer make_layer() {
  return Layer({.inner = {.gate_bias = 3},
                .d_model = 4,
                .d_k = 8,
                .d_v = 8,
                .max_levels = 5,
                .learning_rate = 0.05});
}

/// Each tensor as float and double, and in every dtype that it may be written in.
void convert(const std::string& from, const std::string& to) {
  const Tensors in = read_safetensors(from);
  Tensors out;
  out.metadata = in.metadata;
  for (const std::string& name : in.names()) {
    out.add(name, in[name]);
    if (in[name].dtype > DType::boolean) continue;  // carried
    const auto values = in.matrix<double>(name);
    out.add(name + ".double", values);
    if (is_exact_in<float>(in[name].dtype)) out.add(name + ".float", in.matrix<float>(name));
    if (in[name].dtype != DType::f64) continue;
    out.add(name + ".F32", values, DType::f32);
    out.add(name + ".F16", values, DType::f16);
    out.add(name + ".BF16", values, DType::bf16);
  }
  write_safetensors(to, out);
}

/// A layer with weights from the file, after eleven tokens.
void run(const std::string& from, const std::string& to) {
  Layer layer = make_layer();
  load_weights(from, layer, {{"w_key", "attention.k_proj.weight"}, {"w_gate", "gate"}});
  for (int t = 0; t < 11; ++t) layer.forward(Eigen::VectorXf::LinSpaced(4, -1, float(t)));
  save(to, layer);
}

/// A checkpoint that went through Python is the same.
void reload(const std::string& from, const std::string& to) {
  Layer layer = make_layer();
  load(from, layer);
  save(to, layer);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string command = argv[1];
  try {
    if (command == "convert") convert(argv[2], argv[3]);
    if (command == "run") run(argv[2], argv[3]);
    if (command == "reload") reload(argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
