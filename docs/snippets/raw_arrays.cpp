#include <cstdio>
#include <loglinear/batch.hpp>
#include <vector>

int main() {
  // What another program has: float arrays [B, T, H, D], two key heads for four query heads.
  const int B = 2, T = 1000, H = 4, D = 16;
  std::vector<float> q(B * T * H * D, 0.1f), k(B * T * 2 * D, 0.2f), v(B * T * 2 * D, 0.3f);
  std::vector<float> lambda(B * T * H * 11, 1), g(B * T * H, -0.05f), out(B * T * H * D);

  using In = loglinear::HeadArray<const float>;
  loglinear::chunkwise<float>({.q = In::bthd(q.data(), B, T, H, D),
                               .k = In::bthd(k.data(), B, T, 2, D),
                               .v = In::bthd(v.data(), B, T, 2, D),
                               .lambda = In::bthd(lambda.data(), B, T, H, 11),
                               .g = In::bthd(g.data(), B, T, H)},
                              loglinear::HeadArray<float>::bthd(out.data(), B, T, H, D));
  std::printf("%.4f after one token, %.4f after %d\n", out.front(), out.back(), T);
}
