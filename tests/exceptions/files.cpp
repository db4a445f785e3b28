// SPDX-License-Identifier: MIT
// Checkpoints without memory: the object and the collection of objects stay as they were.

#include <filesystem>

#include "checkpoint/bytes.hpp"
#include "exceptions/operations.hpp"
#include "exceptions/refusing_allocator.hpp"

namespace {

using namespace loglinear;
using Layer = LogLinearAttention<GLA, float>;

}  // namespace

TEST_CASE("Without memory what is loaded from files stays as it was") {
  const test::Folder folder;
  const Layer layer = test::used_layer<Layer>(15), later = test::used_layer<Layer>(30);
  const std::filesystem::path later_path = folder / "later";
  save(later_path, later);
  const auto saved = [](const Layer& any) { return test::saved(any); };
  test::check_without_memory("load", layer, saved, [&](Layer& any) { load(later_path, any); });
  test::check_without_memory("load_weights", layer, saved,
                             [&](Layer& any) { load_weights(later_path, any); });
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
