// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_WEIGHTS_HPP
#define LOGLINEAR_CHECKPOINT_WEIGHTS_HPP

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/tensors.hpp"
#include "loglinear/detail/base/checks.hpp"

namespace loglinear {

/// Maps the names of weights in a layer to their names in a file. A weight that is not mentioned
/// has the same name in both.
using WeightNames = std::map<std::string, std::string>;

/// Where in a larger file the weights of one layer stand.
///
///     load_weights("model.safetensors", mixer, {}, {.prefix = "backbone.layers.3.mixer."});
struct WeightOptions {
  /// What the file puts before every name, the dot included; also before those of a WeightNames.
  std::string prefix = {};
  /// Whether the file may hold further tensors under the prefix. They often belong to an option
  /// that is off, such as a bias, and without them the layer computes something else. Unless given,
  /// they are refused, except in two kinds of file that hold more by nature: a file that is read by
  /// a WeightNames without a prefix, and a checkpoint that `save` wrote, with the stream of a layer
  /// or with other objects. A mixer has no stream of its own, so its checkpoint holds weights
  /// alone.
  std::optional<bool> allow_surplus = {};
};

namespace detail {

/// The dimensions of more than one: `[n, 1, k]`, `n x k` and, for n = 1, `[k]` hold the same.
[[nodiscard]] inline std::vector<std::uint64_t> squeezed(std::vector<std::uint64_t> shape) {
  std::erase(shape, 1u);
  return shape;
}

/// What the file calls each weight, in the order of `weight_names()`.
template <class Layer>
[[nodiscard]] std::vector<std::pair<std::string, std::string>> named_in_file(
    const Layer& layer, const WeightNames& names, const std::string& prefix,
    const std::string& source) {
  const std::vector<std::string> own = layer.weight_names();
  for (const auto& entry : names) {
    if (std::find(own.begin(), own.end(), entry.first) == own.end()) {
      refuse(source, "the layer has no weight " + in_quotes(entry.first));
    }
  }
  std::vector<std::pair<std::string, std::string>> all;
  for (const std::string& name : own) {
    const auto found = names.find(name);
    all.emplace_back(name, prefix + (found == names.end() ? name : found->second));
  }
  return all;
}

/// The names under a prefix, without it.
[[nodiscard]] inline std::vector<std::string> names_under(const std::string& prefix,
                                                          const Tensors& tensors) {
  std::vector<std::string> all;
  for (const std::string& name : tensors.names()) {
    if (name.starts_with(prefix)) all.push_back(name.substr(prefix.size()));
  }
  return all;
}

/// A weight's tensor. \throws CheckpointError, which lists what stands beside it
[[nodiscard]] inline const Tensor& required(const Tensors& tensors, const std::string& name,
                                            const std::string& prefix) {
  const Tensor* const tensor = tensors.find(name);
  if (tensor != nullptr) return *tensor;
  const std::vector<std::string> beside = names_under(prefix, tensors);
  if (prefix.empty() || beside.empty()) return tensors[name];
  refuse_tensor(tensors.source, name,
                "is missing; under " + in_quotes(prefix) + " there are " + in_quotes(beside));
}

/// A layer that keeps its stream itself; that of a mixer is in a cache.
template <class Layer>
concept KeepsStream = requires(Layer& layer) {
  layer.reset();
};

/// Whether a file is a checkpoint that `save` wrote.
[[nodiscard]] inline bool is_checkpoint(const Tensors& tensors) {
  const auto format = tensors.metadata.find("format");
  return format != tensors.metadata.end() && format->second == "loglinear";
}

/// Whether a name under a prefix is a part of an object that a checkpoint holds beside the layer,
/// as a mixer's cache: the metadata tell what each object is.
[[nodiscard]] inline bool is_of_other_object(const Tensors& tensors, const std::string& prefix,
                                             const std::string& name) {
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    if (tensors.metadata.contains(prefix + name.substr(0, dot) + ".type")) return true;
  }
  return false;
}

/// Throws if a tensor under the prefix is none of those that the weights are read from.
inline void refuse_surplus(const Tensors& tensors, const std::string& prefix,
                           const std::vector<std::pair<std::string, std::string>>& weights) {
  std::set<std::string> read;
  for (const auto& weight : weights) read.insert(weight.second.substr(prefix.size()));
  std::vector<std::string> surplus = names_under(prefix, tensors);
  const bool has_objects = is_checkpoint(tensors);
  std::erase_if(surplus, [&](const std::string& name) {
    return read.contains(name) || (has_objects && is_of_other_object(tensors, prefix, name));
  });
  if (surplus.empty()) return;
  const std::string where = prefix.empty() ? "" : "under " + in_quotes(prefix) + ' ';
  refuse(tensors.source,
         where + "there are tensors that are no weights of the layer: " + in_quotes(surplus) +
             "; an option that is off may need them, and allow_surplus = true "
             "leaves them alone");
}

/// Whether tensors besides the weights are expected; see WeightOptions.
template <class Layer>
[[nodiscard]] bool may_have_surplus(const Tensors& tensors, const WeightNames& names,
                                    const WeightOptions& options) {
  if (options.allow_surplus) return *options.allow_surplus;
  if (is_checkpoint(tensors)) return KeepsStream<Layer>;
  return options.prefix.empty() && !names.empty();
}

/// A state_dict has the weight of a depthwise convolution in three dimensions.
[[nodiscard]] inline bool is_convolution(std::string_view name) {
  return name.ends_with("conv1d.weight");
}

}  // namespace detail

/// Sets all weights of a layer from tensors that any program wrote, PyTorch for instance. The
/// layer's state and counters stay.
///
/// \param layer    any layer or mixer with `weight_names`, `weight` and `set_weight`
/// \param names    where the file's names differ from `weight_names()`
/// \param options  what stands before the names, and whether there may be other tensors
///
/// Shapes must agree but for dimensions of 1. Numbers are converted as by `Tensors::matrix`: F32,
/// F16 and BF16 exactly, F64 to double exactly and to float rounded to nearest. Copies the layer.
/// \throws CheckpointError, the layer being unchanged then, for a weight that is missing or has
/// another shape, a tensor that is no weight where WeightOptions does not allow it, a dtype without
/// conversion, and coefficients that are not finite or too large for the layer's scalar
template <class Layer>
void set_weights(Layer& layer, const Tensors& tensors, const WeightNames& names = {},
                 const WeightOptions& options = {}) {
  using Scalar = typename Layer::Scalar;
  const auto weights = detail::named_in_file(layer, names, options.prefix, tensors.source);
  std::vector<std::pair<std::string, detail::RowMajorMatrix<Scalar>>> all;
  for (const auto& [name, in_file] : weights) {
    const Tensor& tensor = detail::required(tensors, in_file, options.prefix);
    const auto rows = layer.weight(name).rows(), columns = layer.weight(name).cols();
    const std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(rows),
                                           static_cast<std::uint64_t>(columns)};
    if (detail::squeezed(tensor.shape) != detail::squeezed(shape)) {
      detail::refuse_tensor(tensors.source, in_file,
                            "is " + tensor.description() + "; " + name + " is [" +
                                std::to_string(rows) + ", " + std::to_string(columns) + "]");
    }
    detail::RowMajorMatrix<Scalar> values = tensors.template matrix<Scalar>(in_file);
    const double limit = detail::magnitude_limit<Scalar>(), largest = detail::max_abs(values);
    if (largest > limit) {
      detail::refuse_tensor(
          tensors.source, in_file,
          detail::Text("its largest coefficient is ", largest, "; it must be at most ", limit));
    }
    all.emplace_back(name, values.template reshaped<Eigen::RowMajor>(rows, columns));
  }
  if (!detail::may_have_surplus<Layer>(tensors, names, options)) {
    detail::refuse_surplus(tensors, options.prefix, weights);
  }
  Layer changed(layer);  // the layer itself changes all at once
  for (const auto& [name, values] : all) changed.set_weight(name, values);
  layer = std::move(changed);
}

/// All weights of a layer or mixer as tensors that PyTorch's `load_state_dict` takes: a matrix has
/// two dimensions, a vector one, and the weight of a depthwise convolution (`...conv1d.weight`) is
/// `[channels, 1, taps]`. Copies all weights.
/// \param names   the file's names, where they differ from `weight_names()`
/// \param dtype   F64, F32, F16 or BF16; see `Tensors::add`
/// \param prefix  what stands before every name, the dot included; `Tensors::add` joins several
///                layers
/// \throws CheckpointError for another DType, and for weights too large for it
template <class Layer>
[[nodiscard]] Tensors weights_of(const Layer& layer, const WeightNames& names = {},
                                 DType dtype = dtype_of<typename Layer::Scalar>(),
                                 const std::string& prefix = {}) {
  Tensors tensors;
  for (const auto& [name, in_file] : detail::named_in_file(layer, names, prefix, tensors.source)) {
    Tensors one;
    one.add(in_file, layer.weight(name), dtype);
    Tensor tensor = one[in_file];
    if (detail::is_convolution(name)) {
      tensor.shape.insert(tensor.shape.begin() + 1, 1);
    } else if (tensor.shape[1] == 1) {
      tensor.shape.pop_back();
    }
    tensors.add(in_file, std::move(tensor));
  }
  return tensors;
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_WEIGHTS_HPP
