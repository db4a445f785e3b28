// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_SOURCE_HPP
#define STREAM_FORECAST_SOURCE_HPP

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <istream>
#include <string>

#include "descriptor_buffer.hpp"

namespace stream_forecast {

/// Where the input comes from: a file, or standard input as "-".
class Source {
 public:
  /// `interrupted` is set by a signal handler.
  Source(const std::string& path, const volatile std::sig_atomic_t& interrupted)
      : name_(path == "-" ? "standard input" : path),
        descriptor_(path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC)),
        buffer_(descriptor_, interrupted),
        stream_(&buffer_) {
    struct stat about {};
    if (descriptor_ < 0 || fstat(descriptor_, &about) != 0 || S_ISDIR(about.st_mode)) return;
    good_ = true;
    if (S_ISREG(about.st_mode)) bytes_ = static_cast<std::uint64_t>(about.st_size);
  }
  ~Source() {
    if (descriptor_ > STDIN_FILENO) close(descriptor_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }  // 0: unknown
  [[nodiscard]] std::istream& stream() { return stream_; }

 private:
  std::string name_;
  int descriptor_;
  DescriptorBuffer buffer_;
  std::istream stream_;
  std::uint64_t bytes_ = 0;
  bool good_ = false;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_SOURCE_HPP
