// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_TOKEN_MIXER_HPP
#define LOGLINEAR_MIXERS_TOKEN_MIXER_HPP

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/mixers/causal_convolution.hpp"
#include "loglinear/mixers/heads.hpp"
#include "loglinear/mixers/mixer_cache.hpp"
#include "loglinear/mixers/mixer_gradients.hpp"
#include "loglinear/mixers/named_weights.hpp"
#include "loglinear/mixers/staged_tokens.hpp"

namespace loglinear {

/// What the complete token mixers of the paper have in common: `LogLinearMamba2` and
/// `LogLinearGatedDeltaNet` are used through this interface.
///
///     x -> projections -> short causal convolution -> gates -> heads, each a log-linear hierarchy
///       -> gated RMS norm -> output projection
///
/// Sequences are T x hidden_size, a row a token; any T from 0 up. With n level weights a head's
/// hierarchy has n - 1 levels, read in the order `current_apart`: weight 0 is the token's own leaf,
/// weight l + 1 the bucket of 2^l tokens. Up to 2^(n - 1) tokens each bucket has a weight of its
/// own; what is older stays in the last level, under the last weight. More weights than a sequence
/// needs are never read.
///
/// Const member functions may run at the same time, on different caches. They allocate. Numbers
/// below std::numeric_limits<Scalar>::min() count as zero, see docs/numerics.md.
///
/// \tparam Scalar_  float or double
/// \tparam Mixer    derives from this class; has `front` and `back`, before and after the heads
template <class Scalar_, class Mixer>
class TokenMixer {
 public:
  using Scalar = Scalar_;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = typename SequenceInputs<Scalar>::Rows;
  using Cache = MixerCache<Scalar>;

  /// \name Weights
  /// \{

  /// The names of all weights, as in flash-linear-attention's state_dict and in its order.
  [[nodiscard]] std::vector<std::string> weight_names() const { return weights_.names(); }
  /// One weight in its state_dict shape, a vector as n x 1, a convolution's as channels x taps.
  /// \throws std::invalid_argument for an unknown name, or one in bfloat16 (`widened_weight`)
  [[nodiscard]] const typename NamedWeights<Scalar>::Matrix& weight(std::string_view name) const {
    return weights_[name];
  }
  /// A copy of one weight, whatever it is kept in. \throws std::invalid_argument as `weight`
  [[nodiscard]] typename NamedWeights<Scalar>::Matrix widened_weight(std::string_view name) const {
    return weights_.widened_weight(name);
  }
  /// Replaces one weight; a vector may be given as a row or as a column. \throws
  /// std::invalid_argument for an unknown name, another shape or a coefficient that is not finite;
  /// nothing is changed then
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const detail::FlushToZero<Scalar> flush;
    weights_.set_weight(name, value);
  }
  /// Keeps the matrices of all projections in bfloat16, rounded to nearest, in half the memory:
  /// products widen them tile by tile. Such a mixer has no gradient. \throws
  /// std::invalid_argument for a coefficient too large for it
  void keep_projections_narrow() { weights_.keep_projections_narrow(); }
  /// Bytes of all weights.
  [[nodiscard]] std::size_t weight_bytes() const { return weights_.bytes(); }
  /// \}

  /// \name Sequences
  /// \{

  /// All outputs of a sequence from an empty state.
  /// \param x  T x hidden_size, finite \return T x hidden_size
  /// \throws std::invalid_argument for a wrong size, a coefficient that is not finite, or where
  /// finite input overflows on the way. O(T log T), by the chunkwise form
  [[nodiscard]] Matrix forward(const Rows& x) const;

  /// The next outputs of a stream. A prompt in pieces of any size gives the outputs of one pass, to
  /// rounding. \param cache  where the stream stands; in the end after x
  /// \throws std::invalid_argument as above, for a cache of another shape, or where a state would
  /// overflow; the cache is unchanged then. A piece of more than one token copies the states.
  [[nodiscard]] Matrix forward(const Rows& x, Cache& cache) const;

  /// Decodes one token. \param x  length hidden_size \return the output, length hidden_size
  /// \throws std::invalid_argument as `forward`; the cache is unchanged then. Costs the projections
  /// and O(active levels x d_k x d_v) a head
  template <class In>
  [[nodiscard]] Vector step(const Eigen::MatrixBase<In>& x, Cache& cache) const {
    static_assert(In::IsVectorAtCompileTime, "step takes a vector; forward takes sequences");
    const Matrix row = detail::as_column(x).transpose();
    Vector out = row.transpose();  // of the output's size, before the cache changes
    out = forward(row, cache).row(0).transpose();
    return out;
  }

  /// Decodes one token of each of several streams. All of them share one product with each weight.
  /// \param x  row s goes to `*caches[s]` \return a row a stream
  /// \throws std::invalid_argument as `forward`, or for a cache that is there twice; no cache is
  /// changed then
  [[nodiscard]] Matrix step_streams(const Rows& x, std::span<Cache* const> caches) const {
    auto [out, staged] = stage(x, caches);
    staged.commit();
    return std::move(out);
  }

  /// The same in two halves, for models of several layers: the outputs, and what `commit()` writes
  /// to the caches, which must stay where they are until then. \throws as `step_streams`
  [[nodiscard]] std::pair<Matrix, detail::StagedTokens<Scalar>> stage(
      const Rows& x, std::span<Cache* const> caches) const;

  /// An empty cache for this mixer's options.
  [[nodiscard]] Cache make_cache() const {
    return Cache(detail::empty_convolutions<Scalar>(shape_),
                 std::vector<LogLinearState<Scalar>>(
                     static_cast<std::size_t>(shape_.heads),
                     LogLinearState<Scalar>(max_levels(), shape_.d_k, shape_.d_v)));
  }

  /// The gradients of `sum(d_out * forward(x))` with respect to x and every weight; computes the
  /// forward pass on the way.
  /// \param x, d_out  T x hidden_size each
  /// \throws std::invalid_argument as `forward`, or where a gradient overflows. Memory O(T) beside
  /// the weights' gradients
  [[nodiscard]] MixerGradients<Scalar> gradient(const Rows& x, const Rows& d_out) const;

  /// The same for the next inputs of a stream, the cache before them held constant: of
  /// `sum(d_out * forward(x, copy of cache))`. A long sequence in pieces, each with its gradient
  /// and then `forward`, is truncated backpropagation in constant memory. \throws
  /// std::invalid_argument as above, or for a cache of another shape. Copies the states
  [[nodiscard]] MixerGradients<Scalar> gradient(const Rows& x, const Rows& d_out,
                                                const Cache& cache) const;
  /// \}

 protected:
  TokenMixer(detail::MixerShape shape, NamedWeights<Scalar> weights)
      : shape_(std::move(shape)), weights_(std::move(weights)) {}
  ~TokenMixer() = default;
  TokenMixer(const TokenMixer&) = default;
  TokenMixer(TokenMixer&&) = default;
  TokenMixer& operator=(const TokenMixer& other) { return *this = TokenMixer(other); }
  TokenMixer& operator=(TokenMixer&&) = default;

  /// \name For the mixer
  /// \{

  /// All sizes.
  [[nodiscard]] const detail::MixerShape& shape() const { return shape_; }
  /// All weights.
  [[nodiscard]] const NamedWeights<Scalar>& weights() const { return weights_; }
  /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints: the weights. Streams are in caches.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (const std::string& name : self.weights_.names()) {
      auto& array = self.weights_[name];
      if (array.cols() == 1) {
        part(name, array.col(0));
      } else {
        part(name, array);
      }
    }
  }

  [[nodiscard]] const Mixer& mixer() const { return static_cast<const Mixer&>(*this); }
  [[nodiscard]] int max_levels() const { return shape_.num_levels - 1; }
  [[nodiscard]] ChunkwiseOptions chunks() const { return {.chunk_size = shape_.chunk_size}; }

  [[nodiscard]] Matrix checked(const Rows& x) const {
    detail::require_matrix("x", x, x.rows(), shape_.hidden_size);
    return x;
  }
  template <class Front>
  [[nodiscard]] Matrix finished(const Front& front, const Matrix& reads) const {
    Matrix out = mixer().back(front, reads);
    detail::require_finite("coefficient # of the output", out);
    return out;
  }
  /// `read(heads, tapes)` reads the heads from where the stream stands.
  template <class Read>
  [[nodiscard]] MixerGradients<Scalar> gradient_of(const Rows& x, const Rows& d_out,
                                                   const std::vector<Matrix>& convolutions,
                                                   Read read) const {
    const detail::FlushToZero<Scalar> flush;
    const Matrix tokens = checked(x);
    detail::require_matrix("d_out", d_out, tokens.rows(), shape_.hidden_size);
    MixerGradients<Scalar> all{.x = Matrix::Zero(tokens.rows(), tokens.cols()),
                               .weights = weights_.zeros()};
    if (tokens.rows() == 0) return all;
    const auto front = mixer().front(tokens, history(convolutions));
    std::vector<SequenceTape<Scalar>> tapes(static_cast<std::size_t>(shape_.heads));
    const Matrix reads = read(front.heads, tapes);
    const detail::ReadsGradient<Scalar> d = mixer().back_gradient(front, reads, d_out, all.weights);
    detail::require_finite("coefficient # of the gradient of the reads", d.reads);
    const detail::HeadInputs<Scalar> d_heads =
        detail::read_heads_gradient(front.heads, d.reads, tapes);
    mixer().front_gradient(front, tokens, d, d_heads, all.x, all.weights);
    detail::require_finite("coefficient # of the gradient of x", all.x);
    for (const std::string& name : all.weights.names()) {
      detail::require_finite("coefficient # of the gradient of " + name, all.weights[name]);
    }
    return all;
  }
  [[nodiscard]] static detail::Histories<Scalar> history(const std::vector<Matrix>& convolutions) {
    return {&convolutions};
  }
  void require_fitting(const Cache& cache) const {
    if (cache.fits(shape_)) return;
    detail::fail("cache", "of another shape", "made by make_cache of such a mixer");
  }

  detail::MixerShape shape_;
  NamedWeights<Scalar> weights_;
};

// Defined here, so that a program can have them compiled in one place (`extern template class`).

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::forward(const Rows& x) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  const std::vector<Matrix> nothing = detail::empty_convolutions<Scalar>(shape_);
  const auto front = mixer().front(tokens, history(nothing));
  return finished(front, detail::read_heads(front.heads, max_levels(), chunks()));
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::forward(const Rows& x, Cache& cache) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  require_fitting(cache);
  if (tokens.rows() == 0) return tokens;
  if (tokens.rows() == 1) {
    Cache* const only = &cache;
    return step_streams(x, {&only, 1});
  }
  const auto front = mixer().front(tokens, history(cache.convolutions_));
  auto states = cache.states_;
  Matrix out = finished(front, detail::read_heads(front.heads, states, chunks()));
  cache.states_.swap(states);
  for (std::size_t i = 0; i < cache.convolutions_.size(); ++i) {
    cache.convolutions_[i] = front.convolved[i].bottomRows(cache.convolutions_[i].rows());
  }
  return out;
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::stage(const Rows& x, std::span<Cache* const> caches) const
    -> std::pair<Matrix, detail::StagedTokens<Scalar>> {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  detail::require_size("x (rows)", tokens.rows(), static_cast<Eigen::Index>(caches.size()));
  detail::require_distinct(caches);
  detail::Histories<Scalar> histories;
  for (const Cache* cache : caches) {
    require_fitting(*cache);
    histories.push_back(&cache->convolutions_);
  }
  if (caches.empty()) return {tokens, {detail::HeadInputs<Scalar>{}, {}, caches}};
  auto front = mixer().front(tokens, histories);
  detail::StagedTokens<Scalar> staged(front.heads, std::move(front.convolved), caches);
  Matrix out = finished(front, staged.reads());
  return {std::move(out), std::move(staged)};
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::gradient(const Rows& x, const Rows& d_out) const
    -> MixerGradients<Scalar> {
  return gradient_of(x, d_out, detail::empty_convolutions<Scalar>(shape_),
                     [&](const auto& heads, auto& tapes) {
                       return detail::read_heads(heads, max_levels(), chunks(), &tapes);
                     });
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::gradient(const Rows& x, const Rows& d_out,
                                          const Cache& cache) const -> MixerGradients<Scalar> {
  require_fitting(cache);
  return gradient_of(x, d_out, cache.convolutions_, [&](const auto& heads, auto& tapes) {
    auto states = cache.states_;
    return detail::read_heads(heads, states, chunks(), &tapes);
  });
}

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_TOKEN_MIXER_HPP
