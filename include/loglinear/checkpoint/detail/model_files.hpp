// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_MODEL_FILES_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_MODEL_FILES_HPP

// The files of a model's folder, and what their headers say of its tensors, before any data is
// read.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/files.hpp"
#include "loglinear/checkpoint/detail/json_fields.hpp"
#include "loglinear/checkpoint/detail/tensor_reader.hpp"

namespace loglinear::detail {

/// All bytes of a text file of at most 100 MB.
[[nodiscard]] inline std::string read_text(const std::filesystem::path& path) {
  const FileBytes file(path.string());
  if (file.size() > longest_header) refuse(path.string(), "is longer than 100 MB");
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

/// model.safetensors, or the shards that its index names. \throws CheckpointError where there is
/// neither, or for an index without legal names of files
[[nodiscard]] inline std::vector<std::filesystem::path> model_files(
    const std::filesystem::path& folder) {
  const std::filesystem::path whole = folder / "model.safetensors";
  if (std::filesystem::exists(whole)) return {whole};
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index)) {
    refuse(folder.string(), "has neither model.safetensors nor model.safetensors.index.json");
  }
  const nlohmann::json json = parsed_json(read_text(index), index.string());
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    refuse(index.string(), "has no object \"weight_map\"");
  }
  std::set<std::string> names;
  for (const auto& item : json["weight_map"].items()) {
    const std::string name = item.value().is_string() ? item.value().get<std::string>() : "";
    // A system would take a byte 0 for the end of the name.
    const bool is_path = name.find('/') != std::string::npos || name == "." || name == "..";
    if (name.empty() || is_path || name.find('\0') != std::string::npos) {
      refuse(index.string(), "weight_map has " + in_quotes(item.key()) +
                                 " in what is no name of a file of the folder");
    }
    names.insert(name);
  }
  std::vector<std::filesystem::path> files;
  for (const std::string& name : names) files.push_back(folder / name);
  return files;
}

/// What a header says about one tensor, and the number of the file that it lies in.
struct ListedTensor {
  std::size_t file;
  Tensor described;  // without its bytes
};
/// What the headers of some files say about all their tensors.
/// \throws CheckpointError where a shape does not agree with the bytes that are there, or two files
/// have a tensor of the same name
[[nodiscard]] inline std::map<std::string, ListedTensor> list_tensors(
    const std::vector<std::filesystem::path>& files) {
  std::map<std::string, ListedTensor> all;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string source = files[i].string();
    const FileBytes bytes(source);
    const HeaderReader header = read_header(bytes, source);
    for (const auto& [name, entry] : header.entries) {
      Tensor described{.dtype = *entry.dtype,
                       .shape = *entry.shape,
                       .bytes = {},
                       .other_dtype = entry.other_dtype};
      const std::uint64_t length = (*entry.data_offsets)[1] - (*entry.data_offsets)[0];
      require_legal_size(described, length, name, source);
      if (!all.try_emplace(name, ListedTensor{i, std::move(described)}).second) {
        refuse_tensor(source, name, "is in another file of the model, too");
      }
    }
  }
  return all;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_MODEL_FILES_HPP
