#include <cstdio>
#include <loglinear/pool.hpp>
#include <vector>

int main() {
  const int H = 2, D = 8, levels = 12;
  loglinear::StreamPool<float> pool({.heads = H, .d_k = D, .d_v = D, .max_levels = levels});
  std::vector<Eigen::Index> users = {pool.add(), pool.add(), pool.add()};

  // One token of each of `streams`: arrays [B, 1, H, D].
  const auto decode = [&](const std::vector<Eigen::Index>& streams, float number) {
    const auto B = static_cast<Eigen::Index>(streams.size());
    const std::vector<float> tokens(static_cast<std::size_t>(B * H * D), number);
    const std::vector<float> ones(static_cast<std::size_t>(B * H * (levels + 1)), 1);
    std::vector<float> out(tokens.size());
    using In = loglinear::HeadArray<const float>;
    const In all = In::bthd(tokens.data(), B, 1, H, D);
    pool.step(streams,
              {.q = all, .k = all, .v = all, .lambda = In::bthd(ones.data(), B, 1, H, levels + 1)},
              loglinear::HeadArray<float>::bthd(out.data(), B, 1, H, D));
    return out;
  };

  for (int t = 0; t < 100; ++t) decode(users, 0.1f);
  pool.remove(users[0]);                     // one has left; its memory is used again
  users = {pool.add(), users[1], users[2]};  // by one who comes
  const Eigen::Index draft = pool.fork(users[1]);
  decode({draft}, 0.5f);                         // what if?
  pool.restore(users[1], pool.snapshot(draft));  // yes
  const std::vector<float> out = decode(users, 0.1f);
  for (std::size_t b = 0; b < users.size(); ++b) {
    std::printf("%llu tokens, read %.4f\n", static_cast<unsigned long long>(pool.size(users[b])),
                out[b * H * D]);
  }
}
