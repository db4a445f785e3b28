// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_DESCRIPTOR_BUFFER_HPP
#define STREAM_FORECAST_DESCRIPTOR_BUFFER_HPP

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ios>
#include <streambuf>

namespace stream_forecast {

/// Reads a file descriptor. Unlike the standard library's own, it takes an interrupt that comes
/// while it waits for input as the end of the input.
class DescriptorBuffer final : public std::streambuf {
 public:
  /// `interrupted` is set by a signal handler.
  DescriptorBuffer(int descriptor, const volatile std::sig_atomic_t& interrupted)
      : descriptor_(descriptor), interrupted_(interrupted) {}

 protected:
  /// \throws std::ios_base::failure if reading fails
  int_type underflow() override {
    while (interrupted_ == 0) {
      const ssize_t count = ::read(descriptor_, bytes_.data(), bytes_.size());
      if (count == 0) break;
      if (count > 0) {
        setg(bytes_.data(), bytes_.data(), bytes_.data() + count);
        return traits_type::to_int_type(bytes_[0]);
      }
      if (errno != EINTR) throw std::ios_base::failure("read");
    }
    return traits_type::eof();
  }

 private:
  int descriptor_;
  const volatile std::sig_atomic_t& interrupted_;
  std::array<char, 1 << 16> bytes_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_DESCRIPTOR_BUFFER_HPP
