// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/fenwick.hpp>

int main() {
  using enum loglinear::ReadOrder;
  constexpr std::uint64_t t = 12;
  for (const auto& [name, order] : {std::pair{"before_push", before_push},
                                    {"after_push", after_push},
                                    {"current_apart", current_apart}}) {
    std::printf("%-13s sees token 0 ... 12 at level ", name);
    for (std::uint64_t s = 0; s <= t; ++s) {
      if (order == before_push && s == t) continue;  // not written yet
      std::printf(" %d", loglinear::level_of(s, t, order, 20));
    }
    std::printf("\n");
  }
}
