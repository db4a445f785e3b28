// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_CHECKPOINT_BYTES_HPP
#define LOGLINEAR_TESTS_CHECKPOINT_BYTES_HPP

// Checkpoints as bytes, without files, and a folder for those that need one.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "loglinear/checkpoint.hpp"
#include "support.hpp"

namespace loglinear::test {

/// All bytes of the file that `write_safetensors` would write.
inline std::string file_of(const loglinear::Tensors& tensors) {
  const std::vector<std::byte> bytes = loglinear::safetensors_bytes(tensors);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A file with this header, whatever it says, and as many bytes of data, 1, 2, 3, ...
inline std::string with_header(const std::string& header, std::size_t data = 0) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (std::size_t i = 0; i < data; ++i) bytes += static_cast<char>(i + 1);
  return bytes;
}

/// All bytes of the file that `save` would write.
template <class Object>
std::string saved(const Object& object) {
  loglinear::Checkpoint checkpoint;
  checkpoint.put("", object);
  return file_of(checkpoint.tensors());
}

inline loglinear::Tensors parsed(const std::string& bytes) {
  return loglinear::parse_safetensors(std::as_bytes(std::span(bytes)), "test.safetensors");
}

/// What `load` does with a file of these bytes.
template <class Object>
void load_bytes(const std::string& bytes, Object& object) {
  loglinear::Checkpoint checkpoint(parsed(bytes));
  Object loaded = checkpoint.loaded("", object);
  checkpoint.require_all_read();
  object = std::move(loaded);
}

/// A folder that is removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "loglinear-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_CHECKPOINT_BYTES_HPP
