// SPDX-License-Identifier: MIT
#include "output_files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace stream_forecast {

namespace {

namespace fs = std::filesystem;

/// Where a name leads to through symbolic links, also if nothing is there.
fs::path destination(fs::path path) {
  constexpr int most_links = 40;  // as many as Linux follows
  std::error_code error;
  for (int i = 0; i < most_links && fs::is_symlink(path, error); ++i) {
    const fs::path link = fs::read_symlink(path, error);
    if (error) break;
    path = path.parent_path() / link;  // an absolute link replaces all of it
  }
  return path;
}

/// Two names lead to one file if their identities are equal.
struct Identity {
  dev_t device = 0;
  ino_t node = 0;
  std::string name;  // of a file that is not there yet, in the folder `node`

  friend bool operator==(const Identity& a, const Identity& b) {
    return std::tie(a.device, a.node, a.name) == std::tie(b.device, b.node, b.name);
  }
};

/// None for devices: several may write to a terminal or to /dev/null.
std::optional<Identity> identity(const struct stat& about) {
  if (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode)) return {};
  return Identity{about.st_dev, about.st_ino, {}};
}
std::optional<Identity> identity(int descriptor) {
  struct stat about {};
  return fstat(descriptor, &about) == 0 ? identity(about) : std::nullopt;
}
std::optional<Identity> identity(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) == 0) return identity(about);
  const fs::path file = destination(path);
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (stat(folder.c_str(), &about) == 0) {
    return Identity{about.st_dev, about.st_ino, file.filename().string()};
  }
  std::error_code none;
  return Identity{0, 0, fs::absolute(file, none).lexically_normal().string()};
}

/// A checkpoint is written under this name first, beside the file that it replaces.
std::string temporary_of(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  return (error ? destination(path) : real).string() + ".tmp";
}

struct File {
  std::string name, what;
  std::optional<Identity> identity;
  std::string content;  // what an output takes
};

/// "p.csv (--predictions)", or how else the message calls it.
std::string called(const File& file) {
  return file.name.empty() ? file.what : file.name + " (" + file.what + ")";
}

[[noreturn]] void refuse(const File& output, const std::string& problem, const File& other) {
  throw std::invalid_argument(output.name + ": " + problem + ": " + called(output) + " and " +
                              called(other) + " are one file");
}

}  // namespace

void require_distinct_files(const Options& options, int input) {
  std::vector<File> outputs;
  const auto add = [&](const std::string& path, const char* what, const char* content) {
    if (!path.empty()) outputs.push_back({path, what, identity(path), content});
  };
  add(options.predictions, "--predictions", "predictions");
  add(options.plot, "--plot", "the plot");
  add(options.save, "--save", "checkpoints");
  if (!options.save.empty()) {
    add(temporary_of(options.save), "--save's new file", "new checkpoints");
  }

  const File source{
      options.file == "-" ? "standard input" : options.file, "the input", identity(input), {}};
  const File load{
      options.load, "--load", options.load.empty() ? std::nullopt : identity(options.load), {}};
  const File streams[]{{"", "standard output", identity(STDOUT_FILENO), {}},
                       {"", "standard error", identity(STDERR_FILENO), {}}};

  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const File& output = outputs[i];
    if (!output.identity) continue;
    if (output.identity == source.identity) refuse(output, "is the input itself", source);
    for (std::size_t j = i + 1; j < outputs.size(); ++j) {
      if (output.identity != outputs[j].identity) continue;
      refuse(outputs[j], "cannot take both " + output.content + " and " + outputs[j].content,
             output);
    }
    if (output.identity == load.identity && output.what != "--save") {
      refuse(output, "is the checkpoint to load", load);
    }
    for (const File& stream : streams) {
      if (output.identity == stream.identity) {
        refuse(output, "takes what the program says", stream);
      }
    }
  }
}

}  // namespace stream_forecast
