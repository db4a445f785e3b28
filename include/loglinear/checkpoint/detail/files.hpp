// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_FILES_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_FILES_HPP

// Whole files in, and out so that a crash at any moment leaves the old file or the new one. POSIX.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "loglinear/checkpoint/error.hpp"
#include "loglinear/detail/error.hpp"

namespace loglinear::detail {

[[noreturn]] inline void fail_file(int error, const std::string& path, const char* what) {
  raise(std::system_error(error, std::generic_category(), "loglinear: " + path + ": " + what));
}

/// An open file, closed at the end.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) {
    do {
      number_ = open(path.c_str(), flags | O_CLOEXEC, 0666);
    } while (number_ < 0 && errno == EINTR);
  }
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// All of a regular file.
[[nodiscard]] inline std::vector<std::byte> read_file(const std::string& path) {
  const Descriptor file(path, O_RDONLY | O_NONBLOCK);  // a pipe must not make it wait
  if (!file.is_open()) fail_file(errno, path, "cannot be opened for reading");
  struct stat about {};
  if (fstat(file.number(), &about) != 0) fail_file(errno, path, "cannot be read");
  if (!S_ISREG(about.st_mode)) refuse(path, "is no regular file");
  std::vector<std::byte> bytes(static_cast<std::size_t>(about.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = read(file.number(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_file(errno, path, "cannot be read");
    if (count == 0) break;  // it has been cut since
    done += static_cast<std::size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

/// Replaces a file, or makes it.
///
/// The bytes go to `<path>.tmp` and from there to the disk before that file takes the old one's
/// name, and the folder goes to the disk after. Whoever writes holds a lock on `<path>.tmp`:
/// writers of one path wait for each other, and what a crash leaves behind is taken over by the
/// next.
class Replacement {
 public:
  explicit Replacement(const std::string& path)
      : path_(resolved(path)), temporary_(path_ + ".tmp") {}

  void write(const std::vector<std::span<const std::byte>>& pieces) {
    std::string folder = std::filesystem::path(path_).parent_path().string();
    if (folder.empty()) folder = ".";
    for (;;) {
      const Descriptor file(temporary_, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
      if (!file.is_open()) fail_file(errno, temporary_, "cannot be opened for writing");
      if (!lock(file)) continue;  // another writer has renamed it meanwhile
      const int error = fill(file, pieces);
      if (error != 0) {
        unlink(temporary_.c_str());
        fail_file(error, temporary_, "cannot be written");
      }
      break;
    }
    const Descriptor directory(folder, O_RDONLY | O_DIRECTORY);
    if (!directory.is_open() || fsync(directory.number()) != 0) {
      fail_file(errno, folder, "cannot be written to the disk");
    }
  }

 private:
  /// Where the bytes really go: a link's target. Only a regular file is ever replaced.
  static std::string resolved(const std::string& path) {
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(path, error);
    if (error == std::errc::not_enough_memory) raise(std::bad_alloc());
    if (error) return path;
    if (!std::filesystem::is_regular_file(real)) refuse(path, "is no regular file");
    return real.string();
  }

  /// Waits for the lock. \return whether the file locked still has its name
  [[nodiscard]] bool lock(const Descriptor& file) const {
    while (flock(file.number(), LOCK_EX) != 0) {
      if (errno != EINTR) fail_file(errno, temporary_, "cannot be locked");
    }
    struct stat locked {};
    struct stat named {};
    if (fstat(file.number(), &locked) != 0) fail_file(errno, temporary_, "cannot be read");
    if (!S_ISREG(locked.st_mode)) refuse(temporary_, "is no regular file");
    return lstat(temporary_.c_str(), &named) == 0 && named.st_dev == locked.st_dev &&
           named.st_ino == locked.st_ino;
  }

  /// Writes and renames. \return 0 or the number of the error
  [[nodiscard]] int fill(const Descriptor& file,
                         const std::vector<std::span<const std::byte>>& pieces) const {
    if (ftruncate(file.number(), 0) != 0) return errno;
    struct stat old {};
    if (stat(path_.c_str(), &old) == 0 && fchmod(file.number(), old.st_mode & 07777) != 0) {
      return errno;
    }
    for (std::span<const std::byte> piece : pieces) {
      while (!piece.empty()) {
        const ssize_t count = ::write(file.number(), piece.data(), piece.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno;
        piece = piece.subspan(static_cast<std::size_t>(count));
      }
    }
    if (fsync(file.number()) != 0) return errno;
    return rename(temporary_.c_str(), path_.c_str()) == 0 ? 0 : errno;
  }

  std::string path_, temporary_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_FILES_HPP
