// SPDX-License-Identifier: MIT
#include "byte_model.hpp"

#include <cstdio>
#include <loglinear/checkpoint/language_model.hpp>
#include <stdexcept>

namespace language_model {

namespace {

std::string size_text(std::size_t bytes) {
  char text[32];
  const bool is_small = bytes < 1'000'000;
  std::snprintf(text, sizeof text, is_small ? "%.1f KB" : "%.1f MB",
                static_cast<double>(bytes) / (is_small ? 1e3 : 1e6));
  return text;
}

}  // namespace

Model load_byte_model(const std::string& folder) {
  Model model = loglinear::load_language_model<float>(folder);
  if (model.options().vocab_size != 256) {
    throw std::invalid_argument(folder + ": the model has " +
                                std::to_string(model.options().vocab_size) +
                                " tokens; this program needs one of 256, the bytes");
  }
  return model;
}

std::vector<std::int32_t> bytes_of(std::string_view text) {
  std::vector<std::int32_t> tokens;
  tokens.reserve(text.size());
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

void require_written() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw std::runtime_error("standard output cannot be written");
  }
}

std::string memory_text(const Model& model, const Model::Cache& cache) {
  bool is_constant = true;
  for (const auto& attention : model.options().attn) {
    const bool is_full = attention.window_size != 0 &&
                         cache.size() + 1 >= static_cast<std::uint64_t>(attention.window_size);
    is_constant = is_constant && (attention.layers.empty() || is_full);
  }
  return "weights " + size_text(model.weight_bytes()) + "; a stream " +
         size_text(cache.memory_bytes()) +
         (is_constant ? " at any length"
                      : " after " + std::to_string(cache.size()) + " tokens, and growing");
}

}  // namespace language_model
