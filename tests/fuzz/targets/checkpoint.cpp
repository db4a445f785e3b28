// SPDX-License-Identifier: MIT
// Any bytes are refused as a file, or read and written they become a file that stays the same; any
// checkpoint with changed data is refused, or leaves objects that go on without harm.
#include <cstring>
#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/checkpoint/safetensors.hpp>
#include <loglinear/rules.hpp>
#include <string>
#include <vector>

#include "target.hpp"

namespace {

using namespace loglinear;
using Layer = LogLinearAttention<GLA, float>;
using Readout = RecursiveLeastSquares<float>;

std::string file_of(const Tensors& tensors) {
  const std::vector<std::byte> bytes = safetensors_bytes(tensors);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
Tensors parsed(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)));
}

Layer make_layer(int tokens) {
  Layer layer({.inner = {.gate_bias = 2}, .d_model = 2, .d_k = 8, .d_v = 8, .max_levels = 4});
  for (int t = 0; t < tokens; ++t) layer.forward(Eigen::Vector2f(1, float(t % 3)));
  return layer;
}
Readout make_readout(int samples) {
  Readout readout({.features = 2, .forgetting = 0.9f});
  for (int t = 0; t < samples; ++t) {
    readout.update(Eigen::Vector2f(1, float(t % 3)), Eigen::VectorXf::Ones(1));
  }
  return readout;
}

/// Loads both objects; those that were taken must stay finite whatever comes, and be stored as they
/// are.
void load_and_go_on(Checkpoint checkpoint) {
  Layer layer = make_layer(0);
  Readout readout = make_readout(0);
  checkpoint.get("layer", layer);
  checkpoint.get("readout", readout);
  Checkpoint again;
  again.put("layer", layer);
  Checkpoint copy(again.tensors());
  Layer other = make_layer(5);
  copy.get("layer", other);
  test::require(other.log_linear_state() == layer.log_linear_state(), "what is stored comes back");
  for (const float large : {1.0f, 1e10f, 1e36f}) {
    for (int t = 0; t < 10; ++t) {
      try {
        test::require(layer.forward(Eigen::Vector2f(large, -1)).allFinite(), "outputs are finite");
      } catch (const std::invalid_argument&) {
      }
      try {
        readout.update(Eigen::Vector2f(large, -1), Eigen::VectorXf::Constant(1, large));
      } catch (const std::invalid_argument&) {
      }
      test::require(layer.log_linear_state().flat_state().allFinite(), "the state is finite");
      test::require(readout.weights().allFinite(), "the readout is finite");
    }
  }
}

/// A valid checkpoint of 13 tokens in which the fuzzer overwrites numbers.
void change_data(test::Bytes bytes) {
  static const std::string valid = [] {
    Checkpoint checkpoint;
    checkpoint.put("layer", make_layer(13));
    checkpoint.put("readout", make_readout(3));
    return file_of(checkpoint.tensors());
  }();
  std::uint64_t header = 0;
  std::memcpy(&header, valid.data(), 8);
  std::string changed = valid;
  const std::size_t begin = 8 + static_cast<std::size_t>(header), size = valid.size() - begin;
  while (!bytes.empty()) {
    const std::size_t place = bytes.take<std::uint16_t>() % (size / 4) * 4;
    const bool wide = place + 8 <= size && bytes.take<std::uint8_t>() % 2 == 0;
    const auto value = bytes.take<std::uint64_t>();
    std::memcpy(changed.data() + begin + place, &value, wide ? 8 : 4);
  }
  load_and_go_on(Checkpoint(parsed(changed)));
}

void read_any(std::span<const std::uint8_t> file) {
  const Tensors tensors = parse_safetensors(std::as_bytes(file));
  const std::string written = file_of(tensors);
  test::require(file_of(parsed(written)) == written, "a file that was written stays the same");
  for (const std::string& name : tensors.names()) {
    try {
      test::require(tensors.matrix<float>(name).allFinite(), "numbers from files are finite");
    } catch (const CheckpointError&) {
    }
  }
  load_and_go_on(Checkpoint(tensors));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::Bytes bytes(data, size);
  const bool any = bytes.take<std::uint8_t>() == 'F';
  try {
    if (any) {
      read_any(bytes.rest());
    } else {
      change_data(bytes);
    }
  } catch (const CheckpointError& error) {
    test::require(std::string(error.what()).starts_with("loglinear: "), "messages begin as all do");
  }
  return 0;
}
