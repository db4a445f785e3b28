// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_TENSOR_READER_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_TENSOR_READER_HPP

// Tensors from the bytes of a safetensors file. The header is checked whole before the first byte
// of data is read, so that memory is needed only for what is there.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/header_reader.hpp"
#include "loglinear/checkpoint/tensors.hpp"

namespace loglinear::detail {

/// Bytes that lie in memory, to read from as from a file.
class MemoryBytes {
 public:
  explicit MemoryBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint64_t size() const { return bytes_.size(); }
  void read(std::uint64_t begin, std::span<std::byte> bytes) const {
    const auto from = bytes_.subspan(begin, bytes.size());
    std::copy(from.begin(), from.end(), bytes.begin());
  }

 private:
  std::span<const std::byte> bytes_;
};

/// As in the reference implementation: a longer header is refused before it is read.
inline constexpr std::uint64_t longest_header = 100'000'000;

/// What a header says. \throws CheckpointError where it breaks the format
[[nodiscard]] inline HeaderReader parsed_header(std::string_view text, const std::string& source) {
  // The parser takes a byte 0 for the end of the text, and would not see what follows it.
  const std::size_t zero = text.find('\0');
  if (zero != std::string_view::npos) {
    refuse(source, "the header has a byte 0 at " + std::to_string(zero) + "; JSON has none");
  }
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || text[begin] != '{') {
    refuse(source, "the header must begin with {");
  }
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) {
    refuse(source, reader.problem);
  }
  return reader;
}

/// Throws unless the tensors lie one after the other in all `size` bytes of data.
inline void require_seamless(const std::map<std::string, HeaderEntry>& entries, std::uint64_t size,
                             const std::string& source) {
  std::vector<const std::pair<const std::string, HeaderEntry>*> sorted;
  for (const auto& entry : entries) sorted.push_back(&entry);
  const auto offsets = [](const auto* entry) -> const std::vector<std::uint64_t>& {
    return *entry->second.data_offsets;
  };
  std::sort(sorted.begin(), sorted.end(),
            [&](const auto* a, const auto* b) { return offsets(a) < offsets(b); });
  std::uint64_t end = 0;
  for (const auto* entry : sorted) {
    const std::uint64_t from = offsets(entry)[0], to = offsets(entry)[1];
    const auto refuse_range = [&](const std::string& problem) {
      refuse_tensor(source, entry->first,
                    "data_offsets are " + std::to_string(from) + " to " + std::to_string(to) +
                        "; " + problem);
    };
    if (from > to || to > size) {
      refuse_range("they must rise and end within the " + std::to_string(size) + " bytes of data");
    }
    if (from != end) {
      const char* const what = from < end ? "they overlap those of another tensor, which end at "
                                          : "there is a hole before them, which begins at ";
      refuse_range(what + std::to_string(end));
    }
    end = to;
  }
  if (end != size) {
    refuse(source, "the tensors end at byte " + std::to_string(end) + " of " +
                       std::to_string(size) + " bytes of data; nothing may follow them");
  }
}

/// The header of a file, checked whole. \param bytes  has `size()` and `read(begin, span)` \throws
/// CheckpointError as `parse_safetensors`
template <class Bytes>
[[nodiscard]] HeaderReader read_header(const Bytes& bytes, const std::string& source,
                                       std::uint64_t* data_begin = nullptr) {
  const std::string size = std::to_string(bytes.size());
  if (bytes.size() < 8) refuse(source, "has " + size + " bytes; a safetensors file has at least 8");
  std::uint64_t length = 0;
  bytes.read(0, std::as_writable_bytes(std::span(&length, 1)));
  const std::uint64_t rest = bytes.size() - 8;
  if (length > rest || length > longest_header) {
    refuse(source, "the header's length is " + std::to_string(length) +
                       "; it must be at most 100000000 and fit in the file of " + size +
                       " bytes: this is no safetensors file, or a damaged one");
  }
  std::string text(length, '\0');
  bytes.read(8, std::as_writable_bytes(std::span(text)));
  HeaderReader header = parsed_header(text, source);
  require_seamless(header.entries, rest - length, source);
  if (data_begin != nullptr) *data_begin = 8 + length;
  return header;
}

/// The tensors of a file. \param bytes, \throws  as `read_header`
template <class Bytes>
[[nodiscard]] Tensors read_tensors(const Bytes& bytes, const std::string& source) {
  std::uint64_t data = 0;
  HeaderReader header = read_header(bytes, source, &data);
  Tensors tensors;
  tensors.source = source;
  tensors.metadata = std::move(header.metadata);
  std::vector<Tensor> described;
  for (auto& [name, entry] : header.entries) {
    described.push_back({.dtype = *entry.dtype,
                         .shape = std::move(*entry.shape),
                         .bytes = {},
                         .other_dtype = std::move(entry.other_dtype)});
    const std::uint64_t begin = (*entry.data_offsets)[0], end = (*entry.data_offsets)[1];
    require_legal_size(described.back(), end - begin, name, source);
  }
  auto tensor = described.begin();
  for (const auto& [name, entry] : header.entries) {
    const std::uint64_t begin = (*entry.data_offsets)[0], end = (*entry.data_offsets)[1];
    tensor->bytes.resize(end - begin);
    bytes.read(data + begin, tensor->bytes);
    tensors.add(name, std::move(*tensor++));
  }
  return tensors;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_TENSOR_READER_HPP
