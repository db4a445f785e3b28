// SPDX-License-Identifier: MIT
// Checkpoints without memory: the object, the collection of objects and the file on the disk stay
// as they were.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "checkpoint/bytes.hpp"
#include "exceptions/operations.hpp"
#include "exceptions/refusing_allocator.hpp"

namespace exceptions_files {

namespace {

using namespace loglinear;
using Layer = LogLinearAttention<GLA, float>;

/// A file of its own with the layer, a copy included.
class File {
 public:
  File(const test::Folder& folder, const Layer& layer)
      : folder_(folder), path_(folder / ("layer" + std::to_string(++files))), layer_(layer) {
    save(path_, layer_);
  }
  File(const File& other) : File(other.folder_, other.layer_) {}
  File& operator=(const File&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  static inline int files = 0;
  const test::Folder& folder_;
  std::filesystem::path path_;
  const Layer& layer_;
};

}  // namespace

TEST_CASE("Without memory files and what is loaded from them stay as they were") {
  const test::Folder folder;
  const Layer layer = test::used_layer<Layer>(15), later = test::used_layer<Layer>(30);
  const std::filesystem::path later_path = folder / "later";
  save(later_path, later);
  const auto saved = [](const Layer& any) { return test::saved(any); };
  test::check_without_memory("load", layer, saved, [&](Layer& any) { load(later_path, any); });
  test::check_without_memory("load_weights", layer, saved,
                             [&](Layer& any) { load_weights(later_path, any); });
  test::check_without_memory(
      "save", File(folder, layer), [](const File& file) { return file.content(); },
      [&](const File& file) { save(file.path(), later); });
}

TEST_CASE("Without memory a collection of objects stays as it was") {
  const Layer layer = test::used_layer<Layer>(15);
  Checkpoint checkpoint;
  checkpoint.put("first", layer);
  const auto bytes = [](const Checkpoint& any) { return test::file_of(any.tensors()); };
  test::check_without_memory("Checkpoint::put", checkpoint, bytes,
                             [&](Checkpoint& any) { any.put("second", layer); });
  // What has been read is known by what is left over.
  const Checkpoint written = [&] {
    Checkpoint both(checkpoint);
    both.put("second", layer);
    return both;
  }();
  const auto left = [](const Checkpoint& any) {
    return test::error_of([&] { any.require_all_read(); });
  };
  Layer target = test::used_layer<Layer>(3);
  test::check_without_memory("Checkpoint::get", written, left,
                             [&](Checkpoint& any) { any.get("first", target); });
}

}  // namespace exceptions_files
