// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_LANGUAGE_MODEL_HPP
#define LOGLINEAR_CHECKPOINT_LANGUAGE_MODEL_HPP

/// \file
/// Language models from folders in the layout of flash-linear-attention, and to them.
///
/// Needs nlohmann-json, as all of checkpoint.hpp, which does not include this header.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/model_files.hpp"
#include "loglinear/checkpoint/detail/weight_shapes.hpp"
#include "loglinear/checkpoint/model_configuration.hpp"
#include "loglinear/checkpoint/model_configuration_text.hpp"
#include "loglinear/checkpoint/safetensors.hpp"
#include "loglinear/checkpoint/weights.hpp"
#include "loglinear/model/instantiations.hpp"
#include "loglinear/model/language_model.hpp"

namespace loglinear {

/// How a model is read from its folder.
struct LanguageModelFolder {
  /// Whether projections, embedding and head are kept in bfloat16. Unless given, they are if all of
  /// them are BF16 in the files; that loses nothing.
  std::optional<bool> keep_narrow = {};
  /// Unknown keys of config.json to ignore.
  std::set<std::string, std::less<>> ignored_keys = {};
};

namespace detail {

/// Throws unless a tensor has the shape of a weight, dimensions of 1 aside.
inline void require_shape(const Tensor& tensor, const std::string& name, Index rows, Index columns,
                          const std::string& source) {
  const std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(rows),
                                         static_cast<std::uint64_t>(columns)};
  if (squeezed(tensor.shape) == squeezed(shape)) return;
  refuse_tensor(source, name,
                "is " + tensor.description() + "; config.json makes it [" + std::to_string(rows) +
                    ", " + std::to_string(columns) + "]");
}

/// Throws unless all tensors are of a dtype that weights are stored in. Integers belong to a
/// quantised model, whose scales would be lost.
inline void require_floating_point(const std::map<std::string, ListedTensor>& listed,
                                   const std::vector<std::filesystem::path>& files) {
  for (const auto& [name, tensor] : listed) {
    if (tensor.described.dtype <= DType::bf16) continue;
    refuse_tensor(
        files[tensor.file].string(), name,
        "is " + tensor.described.description() + "; a weight must be F64, F32, F16 or BF16");
  }
}

/// Whether all matrices that a model can keep in bfloat16 are BF16.
template <class Scalar>
[[nodiscard]] bool are_narrow(const std::map<std::string, ListedTensor>& listed) {
  return std::all_of(listed.begin(), listed.end(), [](const auto& tensor) {
    // `is_projection` knows the network of level weights only by the mixer's own names, without a
    // prefix.
    std::string_view name = tensor.first;
    const std::size_t network = name.find("l_mlp.");
    if (network != name.npos) name.remove_prefix(network);
    return tensor.second.described.dtype == DType::bf16 ||
           !NamedWeights<Scalar>::is_projection(name);
  });
}

/// Throws unless the headers list the model's weights in their shapes and nothing else, but for a
/// tied head. Takes no memory for a weight.
template <class Scalar>
void require_same_weights(const std::map<std::string, ListedTensor>& listed,
                          const LanguageModelOptions& options,
                          const std::vector<std::filesystem::path>& files,
                          const std::string& source) {
  constexpr std::size_t most_named = 1000;
  std::vector<std::string> missing, surplus;
  std::set<std::string> known;
  const auto compare = [&](const std::string& name, Index rows, Index columns) {
    const auto found = listed.find(name);
    if (found == listed.end()) {
      if (missing.size() < most_named) missing.push_back(name);
      return;
    }
    known.insert(name);
    require_shape(found->second.described, name, rows, columns, files[found->second.file].string());
  };
  for_each_weight_shape<Scalar>(options, compare);
  if (!missing.empty()) {
    const char* const more = missing.size() < most_named ? "" : " or more";
    refuse(source, "tensors of the model are missing: " + in_quotes(missing) + more);
  }
  for (const auto& tensor : listed) {
    if (known.contains(tensor.first)) continue;
    if (options.tie_word_embeddings && tensor.first == "lm_head.weight") {
      compare(tensor.first, options.vocab_size, hidden_size(options));
    } else {
      surplus.push_back(tensor.first);
    }
  }
  if (!surplus.empty()) {
    refuse(source, "there are tensors that are none of the model's: " + in_quotes(surplus) +
                       "; an option of config.json that is off may need them");
  }
}

/// A tensor in the shape of a weight.
template <class Scalar>
[[nodiscard]] Matrix<Scalar> weight_from(const Tensors& tensors, const std::string& name,
                                         Index rows, Index columns) {
  require_shape(tensors[name], name, rows, columns, tensors.source);
  const RowMajorMatrix<Scalar> values = tensors.template matrix<Scalar>(name);
  const double limit = magnitude_limit<Scalar>(), largest = max_abs(values);
  if (largest > limit) {
    refuse_tensor(tensors.source, name,
                  Text("its largest coefficient is ", largest, "; it must be at most ", limit));
  }
  return values.template reshaped<Eigen::RowMajor>(rows, columns);
}

}  // namespace detail

/// A model from a folder: `config.json` with `model.safetensors`, or with the shards that
/// `model.safetensors.index.json` names. docs/models.md lists keys and tensors.
///
///     auto model = loglinear::load_language_model<float>("folder");
///
/// F32, F16 and BF16 are converted to float exactly. Needs memory for the model and for one file at
/// a time.
/// \throws std::system_error where a file cannot be read; CheckpointError for a configuration as
/// `language_model_options` does, and, by name and before memory is taken for the model, for
/// tensors that are missing, unknown, of another shape or of integers; also for coefficients that
/// are not finite or too large
template <class Scalar>
[[nodiscard]] LanguageModel<Scalar> load_language_model(const std::filesystem::path& folder,
                                                        const LanguageModelFolder& how = {}) {
  const std::filesystem::path config = folder / "config.json";
  const LanguageModelOptions options =
      language_model_options(detail::read_text(config), config.string(), how.ignored_keys);
  const std::vector<std::filesystem::path> files = detail::model_files(folder);
  const auto listed = detail::list_tensors(files);
  detail::require_floating_point(listed, files);
  const bool is_narrow = how.keep_narrow.value_or(detail::are_narrow<Scalar>(listed));
  const auto about_config = [&](const std::invalid_argument& error) {
    detail::refuse_from(config.string(), error);
  };
  detail::handling<std::invalid_argument>(
      [&] { detail::for_each_weight_shape<Scalar>(options, [](const auto&...) {}); }, about_config);
  detail::require_same_weights<Scalar>(listed, options, files, folder.string());
  std::optional<LanguageModel<Scalar>> built;
  detail::handling<std::invalid_argument>([&] { built.emplace(options, is_narrow); }, about_config);
  LanguageModel<Scalar> model = std::move(*built);
  // A tied head may be there, too: it is compared with the embedding of the files, not with what
  // the model has rounded it to.
  const bool has_tied_head = options.tie_word_embeddings && listed.contains("lm_head.weight");
  const std::string embedding = model.weight_names().front();
  detail::Matrix<Scalar> head, table;
  for (const std::filesystem::path& file : files) {
    const Tensors tensors = read_safetensors(file);
    for (const std::string& name : tensors.names()) {
      if (has_tied_head && name == "lm_head.weight") {
        head = detail::weight_from<Scalar>(tensors, name, options.vocab_size,
                                           detail::hidden_size(options));
        continue;
      }
      const auto old = model.weight(name);
      auto value = detail::weight_from<Scalar>(tensors, name, old.rows(), old.cols());
      if (has_tied_head && name == embedding) table = value;
      model.set_weight(name, std::move(value));
    }
  }
  if (head != table) {
    detail::refuse_tensor(folder.string(), "lm_head.weight",
                          "differs from " + embedding + "; with tie_word_embeddings it must not");
  }
  return model;
}

/// Writes a model's folder, `config.json` and `model.safetensors`; makes the folder if there is
/// none. Copies all weights.
/// \param dtype  of matrices, F64, F32, F16 or BF16; vectors are written in the scalar's own
/// \throws std::system_error where a file cannot be written, std::invalid_argument as
/// `config_json`, CheckpointError for a weight too large for the dtype
template <class Scalar>
void save_language_model(const std::filesystem::path& folder, const LanguageModel<Scalar>& model,
                         DType dtype = dtype_of<Scalar>()) {
  const std::string config = config_json(model.options());
  Tensors tensors;
  tensors.metadata["format"] = "pt";  // as the published files have it
  for (const std::string& name : model.weight_names()) {
    const detail::Matrix<Scalar> weight = model.weight(name);
    Tensors one;
    one.add(name, weight, weight.cols() == 1 ? dtype_of<Scalar>() : dtype);
    Tensor tensor = one[name];
    if (detail::is_convolution(name)) {
      tensor.shape.insert(tensor.shape.begin() + 1, 1);
    } else if (weight.cols() == 1 && !name.ends_with("proj.weight")) {
      tensor.shape.pop_back();
    }
    tensors.add(name, std::move(tensor));
  }
  std::filesystem::create_directories(folder);
  write_safetensors(folder / "model.safetensors", tensors);
  const std::span<const char> text(config);
  detail::Replacement((folder / "config.json").string()).write({std::as_bytes(text)});
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_LANGUAGE_MODEL_HPP
