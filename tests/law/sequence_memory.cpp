// SPDX-License-Identifier: MIT
// How much memory the chunkwise form takes beyond what it is given and what it returns: with more
// tokens a forward pass takes one matrix more for each new level. A gradient takes at most one for
// each new chunk, and one number for each of the new keys and lookups: it keeps what the chunks
// between two states on its tape have computed, about log T of them.

#include <algorithm>
#include <cmath>

#include "catch.hpp"
#include "heap_peak.hpp"
#include "keep_memory.hpp"
#include "loglinear/parallel.hpp"
#include "sequence.hpp"

using namespace laws;

namespace {

constexpr Index d = 16, short_length = 256, long_length = 4096, chunk_size = 16;
constexpr double matrix_bytes = static_cast<double>(d * d) * sizeof(float);
/// What the allocator adds to some dozen blocks of memory.
constexpr double bookkeeping = 1024;

double bytes_of(const auto&... arrays) {
  return static_cast<double>((arrays.size() + ... + 0)) * sizeof(float);
}

double beyond_reads(const Tokens<float>& tokens) {
  const auto in = tokens.inputs();
  bench::start_measuring_heap();
  const Array<float> out = chunkwise(in, {chunk_size});
  return bench::stop_measuring_heap() - bytes_of(out);
}

double beyond_gradients(const Tokens<float>& tokens, const Array<float>& d_out) {
  const auto in = tokens.inputs();
  bench::start_measuring_heap();
  const auto g = chunkwise_gradient(in, d_out, {chunk_size});
  return bench::stop_measuring_heap() -
         bytes_of(g.q, g.k, g.v, g.lambda, g.g, g.g_value, g.beta, g.u, g.p);
}

}  // namespace

TEST_CASE("memory grows with the levels, that of gradients with the tokens", "[law]") {
  bench::keep_memory();  // no block is rounded up to pages
  set_thread_count(1);   // several hold the states of some chunks at once
  const int short_levels = levels_needed(short_length), long_levels = levels_needed(long_length);
  for (const Kind& kind : test::all_kinds()) {
    test::Random random(71);
    const auto longer =
        test::random_tokens<float>(random, kind, long_length, d, d, long_levels + 1);
    const auto in = longer.inputs().slice(0, short_length);
    const Tokens<float> shorter{in.q, in.k, in.v, in.lambda, in.g, in.g_value, in.beta, in.u, in.p};
    INFO(name_of(kind));
    const double reads = beyond_reads(longer) - beyond_reads(shorter);
    if (std::isnan(reads)) return;  // the allocator cannot be followed here
    CHECK(reads <= (long_levels - short_levels) * matrix_bytes + bookkeeping);

    const double gradients = beyond_gradients(longer, longer.v.topRows(long_length)) -
                             beyond_gradients(shorter, longer.v.topRows(short_length));
    constexpr Index tokens = long_length - short_length;
    const auto rows = static_cast<double>(tokens * std::max(kind.leaves, kind.updates));
    CHECK(gradients <= tokens / chunk_size * matrix_bytes + rows * d * sizeof(float) + bookkeeping);
  }
}
