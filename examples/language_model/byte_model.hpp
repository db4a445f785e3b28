// SPDX-License-Identifier: MIT
#ifndef LANGUAGE_MODEL_BYTE_MODEL_HPP
#define LANGUAGE_MODEL_BYTE_MODEL_HPP

#include <cstddef>
#include <cstdint>
#include <loglinear/model.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace language_model {

using Model = loglinear::LanguageModel<float>;

/// A model whose tokens are bytes. \throws std::exception where the folder holds none
[[nodiscard]] Model load_byte_model(const std::string& folder);

/// The tokens of a text, one a byte.
[[nodiscard]] std::vector<std::int32_t> bytes_of(std::string_view text);

/// Sends standard output on its way. \throws std::runtime_error where it could not be written
void require_written();

/// What a stream keeps and what the model keeps, "weights 1.2 MB; a stream 48.0 KB at any length".
[[nodiscard]] std::string memory_text(const Model& model, const Model::Cache& cache);

}  // namespace language_model

#endif  // LANGUAGE_MODEL_BYTE_MODEL_HPP
