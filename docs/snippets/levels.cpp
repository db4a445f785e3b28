// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/fenwick.hpp>

int main() {
  for (const std::uint64_t count : {7U, 8U, 11U, 1000U}) {
    std::printf("%4d tokens:", static_cast<int>(count));
    for (const int level : loglinear::ActiveLevels(count, 20)) {
      const auto bucket = loglinear::bucket_of(count, level, 20);
      std::printf("  level %d holds %d to %d", level, static_cast<int>(bucket.first),
                  static_cast<int>(bucket.first + bucket.size - 1));
    }
    std::printf("\n");
  }
}
