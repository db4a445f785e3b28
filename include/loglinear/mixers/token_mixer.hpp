// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_TOKEN_MIXER_HPP
#define LOGLINEAR_MIXERS_TOKEN_MIXER_HPP

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/mixers/heads.hpp"
#include "loglinear/mixers/heads_token.hpp"
#include "loglinear/mixers/mixer_cache.hpp"
#include "loglinear/mixers/named_weights.hpp"

namespace loglinear {

/// The gradients of `TokenMixer::gradient`.
template <class Scalar>
struct MixerGradients {
  using Matrix = detail::RowMajorMatrix<Scalar>;  ///< a row a token

  Matrix x;                      ///< with respect to the inputs, T x hidden_size
  NamedWeights<Scalar> weights;  ///< with respect to each weight, `weights["A_log"]`
};

namespace detail {

/// A gradient on its way back from a mixer's output to what `read_heads` read.
template <class Scalar>
struct ReadsGradient {
  RowMajorMatrix<Scalar> reads{};   // T x (heads d_v)
  RowMajorMatrix<Scalar> gate{};    // of the output gate before silu, likewise
  RowMajorMatrix<Scalar> direct{};  // of what reaches the output past the heads, likewise
};

}  // namespace detail

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
/// \tparam Mixer    the mixer, which derives from this class and supplies its two ends: `front` and
///                  `back` with their gradients
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
  /// One weight: a matrix in its state_dict shape, a vector as n x 1, a convolution's weight as
  /// channels x taps. \throws std::invalid_argument for an unknown name, listing those there are
  [[nodiscard]] const typename NamedWeights<Scalar>::Matrix& weight(std::string_view name) const {
    return weights_[name];
  }
  /// Replaces one weight; a vector may be given as a row or as a column. \throws
  /// std::invalid_argument for an unknown name, another shape or a coefficient that is not finite;
  /// nothing is changed then
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const detail::FlushToZero<Scalar> flush;
    typename NamedWeights<Scalar>::Matrix& old = weights_[name];
    typename NamedWeights<Scalar>::Matrix given = value;
    if (old.cols() == 1 && given.rows() == 1) given.transposeInPlace();
    detail::require_size("the rows of " + std::string(name), given.rows(), old.rows());
    detail::require_size("the columns of " + std::string(name), given.cols(), old.cols());
    detail::require_finite(name, given);
    old = std::move(given);
  }
  /// \}

  /// \name Sequences
  /// \{

  /// All outputs of a sequence from an empty state.
  /// \param x  T x hidden_size, finite \return T x hidden_size
  /// \throws std::invalid_argument for a wrong size, a coefficient that is not finite, or where
  /// finite input overflows on the way. O(T log T), by the chunkwise form
  [[nodiscard]] Matrix forward(const Rows& x) const;

  /// The next outputs of a stream, for a prompt in pieces of any size: to rounding those of one
  /// pass. \param cache  where the stream stands; in the end after x
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

  /// An empty cache for this mixer's options.
  [[nodiscard]] Cache make_cache() const {
    return Cache(empty_convolutions(),
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
  TokenMixer& operator=(const TokenMixer&) = default;
  TokenMixer& operator=(TokenMixer&&) = default;

  /// \name For the mixer
  /// \{

  /// All sizes.
  [[nodiscard]] const detail::MixerShape& shape() const { return shape_; }
  /// All weights, by name.
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
    const auto front = mixer().front(tokens, convolutions);
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
  [[nodiscard]] std::vector<Matrix> empty_convolutions() const {
    std::vector<Matrix> all;
    for (const Eigen::Index channels : shape_.conv_channels) {
      all.push_back(Matrix::Zero(shape_.conv_kernel - 1, channels));
    }
    return all;
  }
  void require_fitting(const Cache& cache) const {
    bool fits = cache.num_heads() == shape_.heads &&
                cache.convolutions_.size() == shape_.conv_channels.size();
    for (std::size_t i = 0; fits && i < shape_.conv_channels.size(); ++i) {
      fits = cache.convolutions_[i].rows() == shape_.conv_kernel - 1 &&
             cache.convolutions_[i].cols() == shape_.conv_channels[i];
    }
    if (fits) {
      const LogLinearState<Scalar>& state = cache.state(0);
      fits = state.max_levels() == max_levels() && state.d_k() == shape_.d_k &&
             state.d_v() == shape_.d_v;
    }
    if (!fits) detail::fail("cache", "of another shape", "made by make_cache of such a mixer");
  }

  detail::MixerShape shape_;
  NamedWeights<Scalar> weights_;
};

// Defined here, so that a program can have them compiled in one place (`extern template class`).

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::forward(const Rows& x) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  const auto front = mixer().front(tokens, empty_convolutions());
  return finished(front, detail::read_heads(front.heads, max_levels(), chunks()));
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::forward(const Rows& x, Cache& cache) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  require_fitting(cache);
  if (tokens.rows() == 0) return tokens;
  const auto front = mixer().front(tokens, cache.convolutions_);
  Matrix out;
  if (tokens.rows() == 1) {
    detail::HeadsToken<Scalar> token(front.heads, cache.states_);
    out = finished(front, token.reads());
    token.write();
  } else {
    auto states = cache.states_;
    out = finished(front, detail::read_heads(front.heads, states, chunks()));
    cache.states_.swap(states);
  }
  for (std::size_t i = 0; i < cache.convolutions_.size(); ++i) {
    cache.convolutions_[i] = front.convolved[i].bottomRows(cache.convolutions_[i].rows());
  }
  return out;
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::gradient(const Rows& x, const Rows& d_out) const
    -> MixerGradients<Scalar> {
  return gradient_of(x, d_out, empty_convolutions(), [&](const auto& heads, auto& tapes) {
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
