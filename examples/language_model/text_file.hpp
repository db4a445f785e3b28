// SPDX-License-Identifier: MIT
#ifndef LANGUAGE_MODEL_TEXT_FILE_HPP
#define LANGUAGE_MODEL_TEXT_FILE_HPP

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace language_model {

/// The bytes of a regular file, of which as many are in memory as are asked for.
class TextFile {
 public:
  /// \throws std::runtime_error, with the path, for what is no regular file or cannot be opened
  explicit TextFile(const std::string& path) : path_(path), file_(path, std::ios::binary) {
    if (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path)) {
      throw std::runtime_error(path + ": is no regular file");
    }
    if (!file_) throw std::runtime_error(path + ": cannot be read");
    size_ = static_cast<std::size_t>(std::filesystem::file_size(path));
  }

  [[nodiscard]] std::size_t size() const { return size_; }

  /// The tokens of bytes `first` ... `first + count - 1`. \throws std::runtime_error, with the path
  [[nodiscard]] std::vector<std::int32_t> tokens(std::size_t first, std::size_t count) {
    bytes_.resize(count);
    file_.seekg(static_cast<std::streamoff>(first));
    file_.read(bytes_.data(), static_cast<std::streamsize>(count));
    if (!file_) throw std::runtime_error(path_ + ": cannot be read");
    std::vector<std::int32_t> all;
    for (const char c : bytes_) all.push_back(static_cast<unsigned char>(c));
    return all;
  }

 private:
  std::string path_;
  std::ifstream file_;
  std::size_t size_ = 0;
  std::vector<char> bytes_{};
};

}  // namespace language_model

#endif  // LANGUAGE_MODEL_TEXT_FILE_HPP
