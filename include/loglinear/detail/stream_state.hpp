// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_STREAM_STATE_HPP
#define LOGLINEAR_DETAIL_STREAM_STATE_HPP

// The state as a layer keeps it: a LogLinearState of all tokens but the newest few, and those as
// they came, keys beside values. A buffer of B = 2^b leaves stands for the b lowest levels:
// attending to some B/2 leaves costs less than reading b/2 matrices, and one carry every B tokens
// costs less than B carries. Transitions that multiply everything by one factor are deferred
// likewise.
//
// Kinds of transition without `factor()` act on every level at every token; they have no buffer.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "loglinear/detail/kernels.hpp"
#include "loglinear/detail/parts.hpp"
#include "loglinear/detail/types.hpp"
#include "loglinear/detail/workspace.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/state.hpp"

namespace loglinear::detail {

template <class Kind>
concept Deferrable = requires(const Kind& kind) {
  kind.factor();
};

template <class Kind, int MaxLevels>
class StreamState {
 public:
  using Scalar = typename Kind::Scalar;
  using State = LogLinearState<Scalar, Eigen::Dynamic, Eigen::Dynamic, MaxLevels>;

  StreamState(int max_levels, Index key_rows, Index d_v, Index leaves)
      : levels_(max_levels, key_rows, d_v),
        leaves_(leaves),
        buffer_level_(buffer_level(max_levels, key_rows, d_v)),
        columns_(padded(capacity() * leaves)),
        keys_(RowMajor::Zero(key_rows, columns_)),
        values_(Matrix<Scalar>::Zero(d_v, columns_)),
        factors_(Vector<Scalar>::Ones(columns_)) {}

  [[nodiscard]] int max_levels() const { return levels_.max_levels(); }
  [[nodiscard]] Index key_rows() const { return levels_.d_k(); }
  [[nodiscard]] Index d_v() const { return levels_.d_v(); }
  [[nodiscard]] std::uint64_t size() const {
    return levels_.size() + static_cast<std::uint64_t>(buffered_);
  }
  /// Columns that a workspace needs for the scores of buffered leaves.
  [[nodiscard]] Index score_columns() const { return columns_; }

  /// Tokens until nothing is buffered any more; 0 if nothing is. Then `levels` is all there is.
  [[nodiscard]] Index until_flushed() const { return buffered_ == 0 ? 0 : capacity() - buffered_; }
  /// Tokens between two such moments.
  [[nodiscard]] Index capacity() const { return Index{1} << buffer_level_; }
  [[nodiscard]] const State& levels() const { return levels_; }
  [[nodiscard]] State& levels() { return levels_; }

  void reset() noexcept {
    levels_.reset();
    buffered_ = 0;
    levels_factor_ = Scalar(1);
  }

  /// Throws where the token may not be written; returns what `write` takes.
  [[nodiscard]] double require_writable(const Token<Kind>& token) {
    if (size() == UINT64_MAX) fail("size", size(), "below 2^64 - 1 before a push");
    return levels_.require_writable(token.transition.norm_bound(), token.keys, token.values, [&] {
      const auto n = buffered_ * leaves_;
      return n == 0 ? 0.0 : State::leaf_magnitude(keys_.leftCols(n), values_.leftCols(n));
    });
  }

  void write(const Token<Kind>& token, double magnitude) {
    if constexpr (Deferrable<Kind>) {
      if (buffer_level_ > 0) return defer(token, magnitude);
    }
    levels_.write(token.transition, token.keys, token.values, magnitude);
  }

  /// w.old_read = sum_l lambda[weight_of(l)] S_l^T w.old_query over the active levels, those in the
  /// buffer included.
  template <class WeightOf>
  void read(Workspace<Kind>& w, WeightOf weight_of) const {
    w.levels_query = levels_factor_ * w.old_query;
    w.old_read.setZero();
    for (int l : levels_.active_levels()) {
      weighted_rows(level(l), key_rows(), d_v(), d_v(), w.levels_query.data(),
                    w.level_reads.col(l).data());
      w.old_read += w.lambda[weight_of(l)] * w.level_reads.col(l);
    }
    if (buffered_ == 0) return;
    const Index n = buffered_ * leaves_;
    weighted_rows(keys_.data(), key_rows(), padded(n), columns_, w.old_query.data(),
                  w.scores.data());
    w.scores.head(n).array() *= factors_.head(n).array();
    for_each_buffered_level([&](int l, Index first, Index count) {
      w.coefficients.segment(first, count) =
          w.lambda[weight_of(l)] * w.scores.segment(first, count);
    });
    weighted_rows<true>(values_.data(), n, d_v(), d_v(), w.coefficients.data(), w.old_read.data());
  }

  /// For the last `read` with the same weights and a cotangent d = t.d_old_read of the read:
  /// t.d_old_query = sum_l lambda_l S_l d, and t.d_lambda += d . S_l^T w.old_query.
  template <class WeightOf>
  void pull_back(const Workspace<Kind>& w, TrainingWorkspace<Kind>& t, WeightOf weight_of) const {
    std::array<const Scalar*, max_level_limit> levels;
    std::array<Scalar, max_level_limit> weights;
    std::size_t active = 0;
    for (int l : levels_.active_levels()) {
      const int seen = weight_of(l);
      t.d_lambda[seen] += t.d_old_read.dot(w.level_reads.col(l));
      levels[active] = level(l);
      weights[active++] = levels_factor_ * w.lambda[seen];
    }
    weighted_dots(levels.data(), weights.data(), static_cast<int>(active), key_rows(), d_v(),
                  t.d_old_read.data(), t.d_old_query.data());
    if (buffered_ == 0) return;
    const Index n = buffered_ * leaves_;
    auto d_scores = t.d_scores.head(n);
    d_scores.noalias() = values_.leftCols(n).transpose() * t.d_old_read;
    for_each_buffered_level([&](int l, Index first, Index count) {
      const int seen = weight_of(l);
      auto d_level = d_scores.segment(first, count);
      t.d_lambda[seen] += d_level.dot(w.scores.segment(first, count));
      d_level.array() *= w.lambda[seen] * factors_.segment(first, count).array();
    });
    t.d_old_query.noalias() += keys_.leftCols(n) * d_scores;
  }

  /// The plain form, exactly as if every token had been pushed; `out` must have the same shape.
  void copy_to(State& out) const {
    out = levels_;
    if constexpr (Deferrable<Kind>) {
      ScalarDecay<Scalar> decay(key_rows(), d_v());
      decay.decay = levels_factor_;
      for (Index token = 0; token < buffered_; ++token) {
        const Index first = token * leaves_;
        out.write_bucket(
            decay, 0, leaves_,
            [&](Index i, Index n) { return factors_[first + n] * keys_(i, first + n); },
            values_.col(first).data());
        decay.decay = Scalar(1);
      }
      if (buffered_ == 0 && levels_factor_ != Scalar(1)) out.undergo(decay);
    }
  }

  /// For checkpoints: of the buffer what is in use, so that a file does not depend on how wide the
  /// CPU's packets are.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    double growth = 1, pending = 0;
    if constexpr (Deferrable<Kind>) {
      std::int64_t buffered = self.buffered_;  // the same in a file whatever Index is
      part("buffered", buffered);
      require_between("buffered", buffered, std::int64_t{0}, std::int64_t{self.capacity() - 1});
      if constexpr (is_written<Self>) self.buffered_ = static_cast<Index>(buffered);
      const Index n = self.buffered_ * self.leaves_;
      part("levels_factor", self.levels_factor_);
      part("buffered_keys", self.keys_.leftCols(n));
      part("buffered_values", self.values_.leftCols(n));
      part("buffered_factors", self.factors_.head(n));
      growth = std::abs(to_double(self.levels_factor_));
      for (Index i = 0; i < n && is_written<Self>; ++i) {
        const double leaf = State::leaf_magnitude(self.keys_.col(i), self.values_.col(i));
        require_between("the magnitude of a buffered leaf", leaf, 0.0, magnitude_limit<Scalar>());
        pending += leaf * std::abs(to_double(self.factors_[i]));
      }
    }
    Parts::visit(self.levels_, part, growth, pending);
    if (self.levels_.size() % static_cast<std::uint64_t>(self.capacity()) != 0) {
      fail("size", self.levels_.size(), "a multiple of " + std::to_string(self.capacity()));
    }
  }

  template <class OtherKind>
  [[nodiscard]] StreamState<OtherKind, MaxLevels> cast() const {
    using Other = typename OtherKind::Scalar;
    StreamState<OtherKind, MaxLevels> other(max_levels(), key_rows(), d_v(), leaves_);
    other.levels_ = levels_.template cast<Other>();
    const Index n = buffered_ * leaves_;
    other.keys_.leftCols(n) = keys_.leftCols(n).template cast<Other>();
    other.values_.leftCols(n) = values_.leftCols(n).template cast<Other>();
    other.factors_.head(n) = factors_.head(n).template cast<Other>();
    other.levels_factor_ = static_cast<Other>(levels_factor_);
    other.buffered_ = buffered_;
    require_finite("a buffered key", other.keys_.leftCols(n));
    require_finite("a buffered value", other.values_.leftCols(n));
    return other;
  }

 private:
  template <class, int>
  friend class StreamState;
  using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  /// b, so that B is about half the smaller side of a level, but no more levels than there are.
  static int buffer_level(int max_levels, Index key_rows, Index d_v) {
    if (!Deferrable<Kind>) return 0;
    const auto side = static_cast<std::uint64_t>(std::min(key_rows, d_v));
    const int level = static_cast<int>(std::bit_width(side)) - 2;
    return std::clamp(level, 0, std::min(6, max_levels - 1));
  }

  /// Whole packets of columns, so that scores never end in a remainder.
  [[nodiscard]] static Index padded(Index columns) {
    constexpr Index width = packet_size<Scalar>;
    return (columns + width - 1) / width * width;
  }

  [[nodiscard]] const Scalar* level(int l) const { return levels_.level(l).data(); }

  /// Calls `visit(level, first column, columns)` for the levels that the buffer stands for.
  template <class Visit>
  void for_each_buffered_level(Visit visit) const {
    const auto count = static_cast<std::uint64_t>(buffered_);
    for (int l : ActiveLevels(count, max_level_limit)) {
      const Bucket bucket = bucket_of(count, l, max_level_limit);
      visit(l, static_cast<Index>(bucket.first) * leaves_,
            static_cast<Index>(bucket.size) * leaves_);
    }
  }

  void defer(const Token<Kind>& token, double magnitude) {
    const Scalar factor = token.transition.factor();
    const Index n = buffered_ * leaves_;
    factors_.head(n) *= factor;
    levels_factor_ *= factor;
    keys_.middleCols(n, leaves_) = token.keys;
    values_.middleCols(n, leaves_) = token.values;
    factors_.segment(n, leaves_).setOnes();
    levels_.defer(magnitude);
    if (++buffered_ == capacity()) flush();
  }

  /// All buffered leaves become one bucket of the level above the buffer.
  void flush() {
    ScalarDecay<Scalar> decay(key_rows(), d_v());
    decay.decay = levels_factor_;
    const auto key = [&](Index i, Index n) { return factors_[n] * keys_(i, n); };
    const Index n = buffered_ * leaves_;
    if (levels_factor_ == Scalar(1)) {
      levels_.write_bucket(Identity<Scalar>(0, 0), buffer_level_, n, key, values_.data());
    } else {
      levels_.write_bucket(decay, buffer_level_, n, key, values_.data());
    }
    buffered_ = 0;
    levels_factor_ = Scalar(1);
  }

  State levels_;  // the first size() - buffered_ tokens, without the factor
  Index leaves_;
  int buffer_level_;  // b; 0 for no buffer
  Index columns_;     // of the buffer, in whole packets
  RowMajor keys_;     // one column a leaf
  Matrix<Scalar> values_;
  Vector<Scalar> factors_;   // what each buffered leaf has been multiplied by since it came
  Scalar levels_factor_{1};  // what all of levels_ is still to be multiplied by
  Index buffered_ = 0;       // tokens in the buffer, below 2^b
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_STREAM_STATE_HPP
