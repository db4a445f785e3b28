// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP
#define LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP

/// \file
/// Safetensors files. A file is eight bytes, the length of the header; then the header, a JSON
/// object with an entry
///
///     "name": {"dtype": "F32", "shape": [8, 64], "data_offsets": [0, 2048]}
///
/// for each tensor and an object of strings, `__metadata__`; then the tensors' bytes, without gaps.
/// Everything is little-endian, arrays are row-major. Python's `safetensors` reads and writes the
/// same files.

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
#include "loglinear/checkpoint/tensors.hpp"

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

/// The tensors of a safetensors file that lies in memory, as the reference implementation reads it.
/// Dtypes that the library does not know are kept as DType::other; keys of a tensor's entry that
/// the format does not know are ignored. Copies every tensor, after it has checked the whole
/// header: memory is taken only for bytes that the file has.
/// \param source  what messages call the file
/// \throws CheckpointError for a header longer than the file or than 100 MB, one that is not the
/// JSON described above, names or keys that are there twice, shapes whose product overflows or does
/// not fit the bytes, and data that overlap, leave a hole, or end before or beyond the file.
/// Messages have a bounded length
[[nodiscard]] inline Tensors parse_safetensors(std::span<const std::byte> file,
                                               const std::string& source = "safetensors") {
  return detail::read_tensors(detail::MemoryBytes(file), source);
}

/// Reads a safetensors file, whoever wrote it. Needs as much memory as the file is long; what is no
/// safetensors file is refused before that.
/// \throws std::system_error where it cannot be read, CheckpointError as `parse_safetensors`
[[nodiscard]] inline Tensors read_safetensors(const std::filesystem::path& path) {
  return detail::read_tensors(detail::FileBytes(path.string()), path.string());
}

/// Writes a safetensors file, or replaces one in one step: a crash at any moment leaves the old
/// file or the new one, whole and on the disk, and at most `<path>.tmp` beside it. The same tensors
/// always give the same bytes. Links are followed and stay, also those that lead to no file yet.
/// The old file's permissions stay.
/// \throws std::system_error where the file cannot be written, the old one being untouched then,
/// with ELOOP for a link that leads to itself; CheckpointError where the path is no regular file or
/// a name is not UTF-8
inline void write_safetensors(const std::filesystem::path& path, const Tensors& tensors) {
  const std::string header = detail::header_of(tensors);
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(header))};
  for (const auto& entry : detail::in_file_order(tensors)) pieces.emplace_back(entry.second->bytes);
  detail::Replacement(path.string()).write(pieces);
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP
