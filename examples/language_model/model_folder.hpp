// SPDX-License-Identifier: MIT
#ifndef LANGUAGE_MODEL_MODEL_FOLDER_HPP
#define LANGUAGE_MODEL_MODEL_FOLDER_HPP

#include <cstdint>
#include <filesystem>
#include <loglinear/checkpoint/tensors.hpp>
#include <string>

#include "model.hpp"

namespace language_model {

/// `config.json` of a model in flash-linear-attention's layout, as docs/models.md describes it.
/// \throws std::invalid_argument for a model that has no place in it: level weights "mixture", the
/// attention "softmax" with its convolution, and rotary attention whose keys or values are not
/// d_model / heads
[[nodiscard]] std::string configuration_of(const learning::ModelShape& shape);

/// The tensors of `model.safetensors`. \throws std::invalid_argument as `configuration_of`
/// \param matrices  F32 or BF16, of projections, filters, embedding and head; all else is F32
[[nodiscard]] loglinear::Tensors tensors_of(const learning::Model& model,
                                            const learning::ModelShape& shape,
                                            loglinear::DType matrices);

/// Writes both into a folder, each all or nothing.
void write_model(const std::filesystem::path& folder, const learning::Model& model,
                 const learning::ModelShape& shape, loglinear::DType matrices);

/// Rounds the weights that a file of such matrices rounds, so that scores are those of the file.
void round_weights(const learning::Model& model, loglinear::DType matrices);

}  // namespace language_model

#endif  // LANGUAGE_MODEL_MODEL_FOLDER_HPP
