// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_SAFETENSORS_FILE_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_SAFETENSORS_FILE_HPP

// What the functions of safetensors.hpp do. They are inline unless the target loglinear::checkpoint
// has them.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/files.hpp"
#include "loglinear/checkpoint/detail/tensor_reader.hpp"
#include "loglinear/checkpoint/error.hpp"
#include "loglinear/checkpoint/tensors.hpp"
#include "loglinear/detail/base/error.hpp"

#ifdef LOGLINEAR_CHECKPOINT
#  define LOGLINEAR_CHECKPOINT_INLINE
#else
#  define LOGLINEAR_CHECKPOINT_INLINE inline
#endif

namespace loglinear {

namespace detail {

/// The order of a file: wide coefficients first, so that all are aligned, then by name. Those of
/// unknown width are last.
[[nodiscard]] inline std::vector<std::pair<std::string, const Tensor*>> in_file_order(
    const Tensors& tensors) {
  std::vector<std::pair<std::string, const Tensor*>> all;
  for (const std::string& name : tensors.names()) all.emplace_back(name, tensors.find(name));
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return bits_of(a.second->dtype) > bits_of(b.second->dtype);
  });
  return all;
}

/// A string in JSON. \throws CheckpointError unless it is UTF-8
[[nodiscard]] inline std::string in_json(const std::string& text, const std::string& source) {
  std::string json;
  handling<nlohmann::json::exception>(
      [&] { json = nlohmann::json(text).dump(); },
      [&](const auto& error) { refuse(source, std::string("not UTF-8: ") + error.what()); });
  return json;
}
template <class Numbers>
[[nodiscard]] std::string in_json(const Numbers& numbers) {
  std::string json;
  for (const std::uint64_t number : numbers)
    json += (json.empty() ? "" : ",") + std::to_string(number);
  return '[' + json + ']';
}

/// The eight bytes and the header, padded so that the data begin at a multiple of eight. Written
/// piece by piece: the destructor of a tree of JSON values allocates, and where that fails it ends
/// the program.
[[nodiscard]] inline std::string header_of(const Tensors& tensors) {
  const std::string& source = tensors.source;
  std::string text;
  const auto member = [&](const std::string& name, const std::string& json) {
    text += (text.empty() ? "" : ",") + in_json(name, source) + ':' + json;
  };
  for (const auto& [key, value] : tensors.metadata) member(key, in_json(value, source));
  if (!text.empty()) text = "\"__metadata__\":{" + text + '}';
  std::uint64_t end = 0;
  for (const auto& [name, tensor] : in_file_order(tensors)) {
    const std::uint64_t begin = std::exchange(end, end + tensor->bytes.size());
    member(name, "{\"dtype\":" + in_json(std::string(tensor->dtype_name()), source) +
                     ",\"shape\":" + in_json(tensor->shape) +
                     ",\"data_offsets\":" + in_json(std::array{begin, end}) + '}');
  }
  text = '{' + text + '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > longest_header) refuse(tensors.source, "the header would pass 100 MB");
  std::string bytes(8, '\0');
  const std::uint64_t length = text.size();
  std::memcpy(bytes.data(), &length, 8);
  return bytes + text;
}

}  // namespace detail

LOGLINEAR_CHECKPOINT_INLINE Tensors parse_safetensors(std::span<const std::byte> file,
                                                      const std::string& source) {
  return detail::read_tensors(detail::MemoryBytes(file), source);
}

LOGLINEAR_CHECKPOINT_INLINE std::vector<std::byte> safetensors_bytes(const Tensors& tensors) {
  std::vector<std::byte> bytes;
  const auto append = [&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  };
  const std::string header = detail::header_of(tensors);
  append(std::as_bytes(std::span(header)));
  for (const auto& entry : detail::in_file_order(tensors)) append(entry.second->bytes);
  return bytes;
}

LOGLINEAR_CHECKPOINT_INLINE Tensors read_safetensors(const std::filesystem::path& path) {
  return detail::read_tensors(detail::FileBytes(path.string()), path.string());
}

LOGLINEAR_CHECKPOINT_INLINE void write_safetensors(const std::filesystem::path& path,
                                                   const Tensors& tensors) {
  const std::string header = detail::header_of(tensors);
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(header))};
  for (const auto& entry : detail::in_file_order(tensors)) pieces.emplace_back(entry.second->bytes);
  detail::Replacement(path.string()).write(pieces);
}

}  // namespace loglinear

#undef LOGLINEAR_CHECKPOINT_INLINE

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_SAFETENSORS_FILE_HPP
