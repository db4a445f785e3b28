// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_HPP
#define LOGLINEAR_CHECKPOINT_HPP

/// \file
/// Layers and streams to and from files: checkpoints from which a stream goes on bit for bit, and
/// weights exchanged with PyTorch. Both are safetensors files.
///
/// Needs nlohmann-json (Debian: nlohmann-json3-dev), CMake target `loglinear::checkpoint`, and
/// POSIX. Neither loglinear.hpp nor the single header includes it.
///
///     save("stream.safetensors", layer);         // weights, state, counters
///     load("stream.safetensors", layer);         // into a layer of the same options
///     load_weights("weights.safetensors", layer, {{"w_key", "attn.k_proj.weight"}});
///     load_weights("model.safetensors", mixer, {}, {.prefix = "backbone.layers.3.mixer."});

#include <filesystem>
#include <string>
#include <utility>

#include "loglinear/checkpoint/checkpoint.hpp"
#include "loglinear/checkpoint/safetensors.hpp"
#include "loglinear/checkpoint/weights.hpp"

namespace loglinear {

/// Writes all that an object's future depends on: a layer's weights, its stream in internal form,
/// learning rate and step count, and the options, which loading compares. Replaces a file in one
/// step, as `write_safetensors` does. Needs a copy of the tensors in memory.
/// \param object  see `Checkpoint`
/// \throws std::system_error where the file cannot be written; the old one is untouched then
template <class Object>
void save(const std::filesystem::path& path, const Object& object) {
  Checkpoint checkpoint;
  checkpoint.put("", object);
  write_safetensors(path, checkpoint.tensors());
}

/// Brings an object back to where `save` found it. From there it goes on bit for bit, if the
/// program was compiled with the same flags.
/// \param object  constructed with the same options; the seed may differ
/// \throws std::system_error where the file cannot be read, CheckpointError as `read_safetensors`,
/// `Checkpoint::get` and for tensors that do not belong to the object; it is unchanged then
template <class Object>
void load(const std::filesystem::path& path, Object& object) {
  Checkpoint checkpoint(read_safetensors(path));
  Object loaded = checkpoint.loaded("", object);
  checkpoint.require_all_read();
  object = std::move(loaded);
}

/// The same for a layer chosen at run time (mode/attention.hpp), made from the same config. The
/// `MultiHeadAttention` that the layer stands for may have written the file. Instantiates `load`
/// for every kind of rule.
template <class Scalar>
void load(const std::filesystem::path& path, Attention<Scalar>& attention) {
  visit_layer(attention, [&](auto& layer) { load(path, layer); });
}

/// Writes the weights alone, as `weights_of` names and shapes them. \throws as `weights_of` and
/// `write_safetensors`
template <class Layer>
void save_weights(const std::filesystem::path& path, const Layer& layer,
                  const WeightNames& names = {}, DType dtype = dtype_of<typename Layer::Scalar>(),
                  const std::string& prefix = {}) {
  write_safetensors(path, weights_of(layer, names, dtype, prefix));
}

/// Takes the weights alone, from a checkpoint or from any other safetensors file. \throws as
/// `read_safetensors` and `set_weights`; the layer is unchanged then
template <class Layer>
void load_weights(const std::filesystem::path& path, Layer& layer, const WeightNames& names = {},
                  const WeightOptions& options = {}) {
  set_weights(layer, read_safetensors(path), names, options);
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_HPP
