// SPDX-License-Identifier: MIT
// golden_replay DIR...: replays every golden case (*.json) in the given directories. One line a
// case (name, family, largest error relative to its tolerance and the array it is in, pass or
// FAIL), then "N passed, N failed, N skipped". Exit status 1 on any failure, 2 where there is
// nothing to replay.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "families.hpp"

namespace test = loglinear::test;

namespace {

enum class Outcome { passed, failed, skipped };

Outcome replay(const std::filesystem::path& file) {
  const std::string stem = file.stem().string();
  try {
    const test::Case golden(file);
    const auto known = test::families();
    const auto family = known.find(golden.family());
    if (family == known.end()) {
      std::printf("%-36s %-12s skipped: unknown family\n", stem.c_str(), golden.family().c_str());
      return Outcome::skipped;
    }
    test::Comparison compare;
    family->second(golden, compare);
    const bool passed = compare.worst() <= 1;
    std::printf("%-36s %-12s %9.2e of the tolerance (%s)  %s\n", stem.c_str(),
                golden.family().c_str(), compare.worst(), compare.where().c_str(),
                passed ? "pass" : "FAIL");
    return passed ? Outcome::passed : Outcome::failed;
  } catch (const std::exception& error) {
    std::printf("%-36s %-12s %s  FAIL\n", stem.c_str(), "?", error.what());
    return Outcome::failed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i], error)) {
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    }
    if (error) {
      std::fprintf(stderr, "golden_replay: %s: %s\n", argv[i], error.message().c_str());
      return 2;
    }
  }
  if (files.empty()) {
    std::fprintf(stderr, "usage: golden_replay DIR...  (no *.json found)\n");
    return 2;
  }
  std::sort(files.begin(), files.end());
  int counts[3] = {};
  for (const auto& file : files) ++counts[static_cast<int>(replay(file))];
  std::printf("%d passed, %d failed, %d skipped\n", counts[0], counts[1], counts[2]);
  return counts[1] == 0 ? 0 : 1;
}
