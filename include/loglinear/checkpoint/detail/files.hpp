// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_FILES_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_FILES_HPP

// Reads files, and replaces them so that a crash at any moment leaves the old file or the new one.
// POSIX.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "loglinear/checkpoint/error.hpp"
#include "loglinear/detail/base/error.hpp"

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

/// A regular file to read from.
class FileBytes {
 public:
  explicit FileBytes(const std::string& path)
      : path_(path), file_(path, O_RDONLY | O_NONBLOCK) {  // a pipe must not make it wait
    if (!file_.is_open()) fail_file(errno, path_, "cannot be opened for reading");
    struct stat about {};
    if (fstat(file_.number(), &about) != 0) fail_file(errno, path_, "cannot be read");
    if (!S_ISREG(about.st_mode)) refuse(path_, "is no regular file");
    size_ = static_cast<std::uint64_t>(about.st_size);
  }

  [[nodiscard]] std::uint64_t size() const { return size_; }

  /// Fills `bytes` with those from `begin` on.
  void read(std::uint64_t begin, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t count =
          pread(file_.number(), bytes.data(), bytes.size(), static_cast<off_t>(begin));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_file(errno, path_, "cannot be read");
      if (count == 0) refuse(path_, "has become shorter while it was read");
      begin += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

 private:
  std::string path_;
  Descriptor file_;
  std::uint64_t size_ = 0;
};

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
      // A folder that may not be opened must be known before the old file is gone.
      const Descriptor directory(folder, O_RDONLY | O_DIRECTORY);
      const int error = directory.is_open() ? fill(file, pieces) : errno;
      if (error != 0) {
        unlink(temporary_.c_str());
        fail_file(error, temporary_, "cannot be written");
      }
      if (fsync(directory.number()) != 0) fail_file(errno, folder, "cannot be written to the disk");
      return;
    }
  }

 private:
  /// Where the bytes really go: to the end of a chain of links, where a file is or will be. Only a
  /// regular file is ever replaced.
  static std::string resolved(const std::string& path) {
    constexpr int most_links = 40;  // as many as Linux follows
    if (path.empty()) fail_file(ENOENT, path, "names no file");
    struct stat about {};
    const bool leads_to_file = stat(path.c_str(), &about) == 0;
    if (leads_to_file && !S_ISREG(about.st_mode)) refuse(path, "is no regular file");
    std::filesystem::path real = path;
    for (int links = 0; links <= most_links; ++links) {
      const bool is_there = lstat(real.c_str(), &about) == 0;
      if (!is_there && errno != ENOENT) fail_file(errno, path, "cannot be followed to a file");
      if (!is_there && leads_to_file &&
          links > 0) {  // as /proc/self/fd/3 where 3 is a deleted file
        refuse(path, "leads to a file that has no name any more, so that none can replace it");
      }
      if (!is_there || !S_ISLNK(about.st_mode)) return real.string();
      std::error_code error;
      const std::filesystem::path target = std::filesystem::read_symlink(real, error);
      if (error) fail_file(error.value(), path, "cannot be followed to a file");
      real = real.parent_path() / target;
    }
    fail_file(ELOOP, path, "cannot be followed to a file");
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
