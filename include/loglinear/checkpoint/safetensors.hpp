// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP
#define LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP

/// \file
/// Safetensors files: eight bytes, the length of the header; the header, a JSON object with an
/// entry
/// `"name": {"dtype": "F32", "shape": [8, 64], "data_offsets": [0, 2048]}` for each tensor and an
/// object of strings, `__metadata__`; then the tensors' bytes, without gaps. Everything is
/// little-endian, arrays are row-major. Python's `safetensors` reads and writes the same files.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/files.hpp"
#include "loglinear/checkpoint/detail/header_reader.hpp"
#include "loglinear/checkpoint/tensors.hpp"

namespace loglinear {

namespace detail {

/// As in the reference implementation: a longer header is refused before it is read.
inline constexpr std::uint64_t longest_header = 100'000'000;

/// Throws unless the tensors lie one after the other in all `size` bytes of data.
inline void require_seamless(const std::map<std::string, HeaderEntry>& entries, std::uint64_t size,
                             const std::string& source) {
  std::vector<const std::pair<const std::string, HeaderEntry>*> sorted;
  for (const auto& entry : entries) sorted.push_back(&entry);
  const auto offsets = [](const auto* entry) { return *entry->second.data_offsets; };
  std::sort(sorted.begin(), sorted.end(),
            [&](const auto* a, const auto* b) { return offsets(a) < offsets(b); });
  std::uint64_t end = 0;
  for (const auto* entry : sorted) {
    const std::uint64_t from = offsets(entry)[0], to = offsets(entry)[1];
    const std::string range =
        "data_offsets are " + std::to_string(from) + " to " + std::to_string(to) + "; ";
    if (from > to || to > size) {
      refuse_tensor(
          source, entry->first,
          range + "they must rise and end within the " + std::to_string(size) + " bytes of data");
    }
    if (from != end) {
      const char* const what = from < end ? "they overlap those of another tensor, which end at "
                                          : "there is a hole before them, which begins at ";
      refuse_tensor(source, entry->first, range + what + std::to_string(end));
    }
    end = to;
  }
  if (end != size) {
    refuse(source, "the tensors end at byte " + std::to_string(end) + " of " +
                       std::to_string(size) + " bytes of data; nothing may follow them");
  }
}

/// The order of a file: wide coefficients first, so that all are aligned, then by name.
[[nodiscard]] inline std::vector<std::pair<std::string, const Tensor*>> in_file_order(
    const Tensors& tensors) {
  std::vector<std::pair<std::string, const Tensor*>> all;
  for (const std::string& name : tensors.names()) all.emplace_back(name, tensors.find(name));
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return size_of(a.second->dtype) > size_of(b.second->dtype);
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
    member(name, "{\"dtype\":\"" + std::string(name_of(tensor->dtype)) +
                     "\",\"shape\":" + in_json(tensor->shape) +
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

/// The tensors of a safetensors file that lies in memory.
/// \param source  what messages call it
/// \throws CheckpointError for a header longer than the file or than 100 MB, one that is not the
/// JSON described above, names or keys that are there twice, unknown dtypes, shapes whose product
/// overflows or does not fit the bytes, and data that overlap, leave a hole, or end before or
/// beyond the file. Copies every tensor
[[nodiscard]] inline Tensors parse_safetensors(std::span<const std::byte> file,
                                               const std::string& source = "safetensors") {
  const std::string size = std::to_string(file.size());
  if (file.size() < 8) {
    detail::refuse(source, "has " + size + " bytes; a safetensors file has at least 8");
  }
  const auto length = detail::number_at<std::uint64_t>(file.data());
  const std::uint64_t rest = file.size() - 8;
  if (length > rest || length > detail::longest_header) {
    detail::refuse(source, "the header's length is " + std::to_string(length) +
                               "; it must be at most 100000000 and fit in the file of " + size +
                               " bytes");
  }
  const auto header = file.subspan(8, static_cast<std::size_t>(length));
  const auto data = file.subspan(8 + static_cast<std::size_t>(length));
  const auto* const text = reinterpret_cast<const char*>(header.data());
  if (header.empty() || *text != '{') detail::refuse(source, "the header must begin with {");
  detail::HeaderReader reader;
  if (!nlohmann::json::sax_parse(text, text + header.size(), &reader)) {
    detail::refuse(source, reader.problem);
  }
  detail::require_seamless(reader.entries, data.size(), source);

  Tensors tensors;
  tensors.source = source;
  tensors.metadata = std::move(reader.metadata);
  for (auto& [name, entry] : reader.entries) {
    const auto from = static_cast<std::ptrdiff_t>((*entry.data_offsets)[0]);
    const auto to = static_cast<std::ptrdiff_t>((*entry.data_offsets)[1]);
    tensors.add(name, {.dtype = *entry.dtype,
                       .shape = std::move(*entry.shape),
                       .bytes = {data.begin() + from, data.begin() + to}});
  }
  return tensors;
}

/// Reads a safetensors file whole, whoever wrote it.
/// \throws std::system_error where it cannot be read, CheckpointError as `parse_safetensors`.
/// Needs twice the memory of the file
[[nodiscard]] inline Tensors read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(detail::read_file(path.string()), path.string());
}

/// Writes a safetensors file, replacing one that is there in one step: a crash at any moment leaves
/// the old file or the new one, whole and on the disk, and at most `<path>.tmp` beside it. The same
/// tensors always give the same bytes. Links are followed; the old file's permissions stay.
/// \throws std::system_error where it cannot be written, the old file being untouched then;
/// CheckpointError where the path is no regular file or a name is not UTF-8
inline void write_safetensors(const std::filesystem::path& path, const Tensors& tensors) {
  const std::string header = detail::header_of(tensors);
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(header))};
  for (const auto& entry : detail::in_file_order(tensors)) pieces.emplace_back(entry.second->bytes);
  detail::Replacement(path.string()).write(pieces);
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP
