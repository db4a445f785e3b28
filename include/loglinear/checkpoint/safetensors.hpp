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

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "loglinear/checkpoint/tensors.hpp"

namespace loglinear {

/// The tensors of a safetensors file that lies in memory, as the reference implementation reads it.
/// Dtypes that the library does not know are kept as DType::other; keys of a tensor's entry that
/// the format does not know are ignored. Copies every tensor, after it has checked the whole
/// header: memory is taken only for bytes that the file has.
/// \param source  what messages call the file
/// \throws CheckpointError for a header longer than the file or than 100 MB, one that is not the
/// JSON described above, names or keys that are there twice, shapes whose product overflows or does
/// not fit the bytes, and data that overlap, leave a hole, or end before or beyond the file.
/// Messages have a bounded length
[[nodiscard]] Tensors parse_safetensors(std::span<const std::byte> file,
                                        const std::string& source = "safetensors");

/// The bytes of a safetensors file with these tensors, which `parse_safetensors` takes. The same
/// tensors always give the same bytes. Allocates them and a copy of the header.
/// \throws CheckpointError where a name or the metadata are not UTF-8, or the header would pass
/// 100 MB
[[nodiscard]] std::vector<std::byte> safetensors_bytes(const Tensors& tensors);

/// Reads a safetensors file, whoever wrote it. Needs as much memory as the file is long; what is no
/// safetensors file is refused before that.
/// \throws std::system_error where it cannot be read, CheckpointError as `parse_safetensors`
[[nodiscard]] Tensors read_safetensors(const std::filesystem::path& path);

/// Writes a safetensors file, or replaces one in one step: a crash at any moment leaves the old
/// file or the new one, whole and on the disk, and at most `<path>.tmp` beside it. The same tensors
/// always give the same bytes. Links are followed and stay, also those that lead to no file yet.
/// The old file's permissions stay.
/// \throws std::system_error where the file cannot be written, the old one being untouched then,
/// with ELOOP for a link that leads to itself; CheckpointError where the path is no regular file or
/// a name is not UTF-8
void write_safetensors(const std::filesystem::path& path, const Tensors& tensors);

}  // namespace loglinear

// The target loglinear::checkpoint has what these functions do, compiled once. A program without it
// compiles that itself.
#ifndef LOGLINEAR_CHECKPOINT
#  include "loglinear/checkpoint/detail/safetensors_file.hpp"
#endif

#endif  // LOGLINEAR_CHECKPOINT_SAFETENSORS_HPP
