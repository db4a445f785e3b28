// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_SLIDING_WINDOW_ATTENTION_HPP
#define LOGLINEAR_MODEL_SLIDING_WINDOW_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/mixers/draw_weights.hpp"
#include "loglinear/mixers/linear.hpp"
#include "loglinear/mixers/named_weights.hpp"
#include "loglinear/mixers/staged_tokens.hpp"
#include "loglinear/model/attention_cache.hpp"
#include "loglinear/model/detail/attend.hpp"
#include "loglinear/model/language_model_options.hpp"

namespace loglinear {

/// Softmax attention over a window of tokens, the layer `Attention` of flash-linear-attention that
/// its hybrids mix in.
///
///     q, k, v = W_q x, W_k x, W_v x (+ biases),   q and k rotated by the token's position
///     o_t = sum_s softmax_s(q_t . k_s / sqrt(head_dim)) v_s,   t - window < s <= t,  head by head
///     out = W_o o
///
/// Rotary positions (Su et al., arXiv:2104.09864) count from the stream's beginning and turn the
/// first half of a head against the second; angles are computed in double, also in float.
/// `num_kv_heads` heads of keys and values serve neighbours (Ainslie et al., arXiv:2305.13245).
/// Weights: `q_proj.weight`, `o_proj.weight` (hidden_size x hidden_size), `k_proj.weight`,
/// `v_proj.weight` (num_kv_heads head_dim x hidden_size), with qkv_bias `q_proj.bias`,
/// `k_proj.bias`, `v_proj.bias`. A token costs O(window x hidden_size).
///
/// It has the interface of `TokenMixer` without the gradient; its streams are `AttentionCache`s.
template <class Scalar_>
class SlidingWindowAttention {
 public:
  using Scalar = Scalar_;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Cache = AttentionCache<Scalar>;
  using Index = Eigen::Index;

  /// What `stage` has read and `commit` writes.
  class Staged {
   public:
    /// Makes room for one more token in each cache. Allocates
    Staged(Matrix keys, Matrix values, std::span<Cache* const> caches)
        : keys_(std::move(keys)),
          values_(std::move(values)),
          caches_(caches.begin(), caches.end()) {
      for (Cache* cache : caches_) cache->reserve(1);
    }
    /// The caches take the tokens. Neither allocates nor throws.
    void commit() {
      for (std::size_t s = 0; s < caches_.size(); ++s) {
        const auto row = static_cast<Index>(s);
        caches_[s]->append(keys_.row(row), values_.row(row));
      }
    }

   private:
    Matrix keys_, values_;
    std::vector<Cache*> caches_;
  };

  /// Draws all matrices from a normal distribution with standard deviation `deviation`; biases
  /// begin at 0.
  /// \throws std::invalid_argument for an option out of its range
  SlidingWindowAttention(const AttentionLayers& options, Index hidden_size, double deviation,
                         Xorshift64& random)
      : options_(options), hidden_size_(hidden_size) {
    detail::require_dimension("hidden_size", hidden_size);
    detail::require_attention(options, hidden_size);
    for (const char* const path : {"q", "k", "v", "o"}) {
      const std::string name = path + std::string("_proj.");
      const bool is_shared = *path == 'k' || *path == 'v';
      const Index rows = is_shared ? kv_columns() : hidden_size;
      detail::fill_normal(weights_.append(name + "weight", rows, hidden_size), deviation, random);
      if (options.qkv_bias && *path != 'o') weights_.append(name + "bias", rows, 1);
    }
  }

  /// What the layer was built with.
  [[nodiscard]] const AttentionLayers& options() const { return options_; }

  /// \name Weights, as of TokenMixer
  /// \{

  /// All names, as in flash-linear-attention's state_dict.
  [[nodiscard]] std::vector<std::string> weight_names() const { return weights_.names(); }
  /// A copy of one weight, whatever it is kept in.
  [[nodiscard]] typename NamedWeights<Scalar>::Matrix widened_weight(std::string_view name) const {
    return weights_.widened_weight(name);
  }
  /// Replaces one weight.
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const detail::FlushToZero<Scalar> flush;
    weights_.set_weight(name, value);
  }
  /// Keeps the matrices in bfloat16 from now on.
  void keep_projections_narrow() { weights_.keep_projections_narrow(); }
  /// Bytes of all weights.
  [[nodiscard]] std::size_t weight_bytes() const { return weights_.bytes(); }
  /// \}

  /// An empty cache for this layer's options.
  [[nodiscard]] Cache make_cache() const { return Cache(options_.window_size, kv_columns()); }

  /// The next outputs of a stream. Allocates.
  /// \param x  T x hidden_size
  /// \throws std::invalid_argument for a wrong size, a cache of another shape, or where finite
  /// input overflows; the cache is unchanged then
  [[nodiscard]] Matrix forward(const Matrix& x, Cache& cache) const {
    const detail::FlushToZero<Scalar> flush;
    detail::require_matrix("x", x, x.rows(), hidden_size_);
    require_fitting(cache);
    const Matrix q = rotated(projected(x, "q"), cache.size());
    const Matrix new_keys = rotated(projected(x, "k"), cache.size()),
                 new_values = projected(x, "v");
    const Index past = cache.kept(), window = options_.window_size;
    Matrix keys(past + x.rows(), kv_columns()), values(past + x.rows(), kv_columns());
    keys << cache.keys_in_order(), new_keys;
    values << cache.values_in_order(), new_values;
    Matrix reads(x.rows(), hidden_size_);
    constexpr Index tokens_at_once = 16;
    detail::parallel_for<Scalar>(
        (x.rows() + tokens_at_once - 1) / tokens_at_once, thread_count(), [&](Index part) {
          const Index end = (std::min)(x.rows(), (part + 1) * tokens_at_once);
          for (Index t = part * tokens_at_once; t < end; ++t) {
            const Index seen = past + t + 1, rows = window == 0 ? seen : (std::min)(seen, window);
            const Index first = (seen - rows) * kv_columns();
            detail::attend<Scalar>(heads(), q.data() + t * hidden_size_,
                                   {keys.data() + first, values.data() + first, rows}, {},
                                   reads.data() + t * hidden_size_);
          }
        });
    Matrix out = finished(reads);
    cache.append(new_keys, new_values);
    return out;
  }

  /// One token of each of several streams; see `TokenMixer::stage`.
  [[nodiscard]] std::pair<Matrix, Staged> stage(const Matrix& x,
                                                std::span<Cache* const> caches) const {
    const detail::FlushToZero<Scalar> flush;
    detail::require_matrix("x", x, static_cast<Index>(caches.size()), hidden_size_);
    detail::require_distinct(caches);
    for (const Cache* cache : caches) require_fitting(*cache);
    Matrix q = projected(x, "q"), keys = projected(x, "k"), values = projected(x, "v");
    Matrix reads(x.rows(), hidden_size_);
    detail::parallel_for<Scalar>(x.rows(), thread_count(), [&](Index s) {
      const Cache& cache = *caches[static_cast<std::size_t>(s)];
      const detail::Rotation<Scalar> rotation(head_dim(), options_.rope_theta, cache.size());
      rotation.turn(q.data() + s * hidden_size_, options_.num_heads);
      rotation.turn(keys.data() + s * kv_columns(), detail::kv_heads(options_));
      detail::attend<Scalar>(heads(), q.data() + s * hidden_size_,
                             {cache.keys().data(), cache.values().data(), cache.kept()},
                             {keys.data() + s * kv_columns(), values.data() + s * kv_columns(), 1},
                             reads.data() + s * hidden_size_);
    });
    Matrix out = finished(reads);
    return {std::move(out), Staged(std::move(keys), std::move(values), caches)};
  }

 private:
  [[nodiscard]] Index head_dim() const { return hidden_size_ / options_.num_heads; }
  [[nodiscard]] Index kv_columns() const { return detail::kv_heads(options_) * head_dim(); }
  [[nodiscard]] detail::AttentionHeads heads() const {
    return {options_.num_heads, detail::kv_heads(options_), head_dim()};
  }
  void require_fitting(const Cache& cache) const {
    if (cache.window() != options_.window_size || cache.columns() != kv_columns()) {
      detail::fail("cache", "of another shape", "made by make_cache of such a layer");
    }
  }

  [[nodiscard]] Matrix projected(const Matrix& x, const char* path) const {
    const std::string name = path + std::string("_proj.");
    Matrix y = detail::linear<Scalar>(x, weights_.projection(name + "weight"),
                                      weights_.find(name + "bias"));
    detail::require_finite("coefficient # of the product of x and " + name + "weight", y);
    return y;
  }
  /// Rows of consecutive tokens from `position` on.
  [[nodiscard]] Matrix rotated(Matrix rows, std::uint64_t position) const {
    for (Index t = 0; t < rows.rows(); ++t) {
      const detail::Rotation<Scalar> rotation(head_dim(), options_.rope_theta,
                                              position + static_cast<std::uint64_t>(t));
      rotation.turn(rows.data() + t * rows.cols(), rows.cols() / head_dim());
    }
    return rows;
  }
  [[nodiscard]] Matrix finished(const Matrix& reads) const {
    Matrix out = detail::linear<Scalar>(reads, weights_.projection("o_proj.weight"), nullptr);
    detail::require_finite("coefficient # of the output", out);
    return out;
  }

  AttentionLayers options_;
  Index hidden_size_;
  NamedWeights<Scalar> weights_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_SLIDING_WINDOW_ATTENTION_HPP
