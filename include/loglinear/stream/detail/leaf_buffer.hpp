// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEAF_BUFFER_HPP
#define LOGLINEAR_STREAM_DETAIL_LEAF_BUFFER_HPP

// The newest tokens as they came, keys beside values: attending to some B/2 leaves costs less than
// reading the b/2 matrices that they would be, and one carry every B = 2^b tokens less than B
// carries.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/fields.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

/// The buffer of a stream; a snapshot holds one with no more memory than it needs.
///
/// Class invariant: `count()` is below `capacity()`, or equal to it until the buffer is emptied;
/// each leaf has undergone every transition since it came. It has many members, as what happens to
/// a leaf is done here: written, read, learnt from, moved on, summed up.
template <class Kind>
class LeafBuffer {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr int most_levels = 6;
  /// Whether leaves decay by a number each, which is kept apart from their keys.
  static constexpr bool has_factors = OneFactor<Kind> && !std::is_same_v<Kind, Identity<Scalar>>;

  /// In place of `level` levels, for tokens of `leaves` leaves each, with memory for `room` tokens.
  LeafBuffer(int level, Index leaves, Index key_rows, Index d_v, Index room)
      : level_(level),
        leaves_(leaves),
        keys_(zeros<RowMajorMatrix<Scalar>>(room * leaves, key_rows)),
        values_(zeros<RowMajorMatrix<Scalar>>(room * leaves, d_v)),
        factors_(ones<Scalar>(has_factors ? room * leaves : 0)) {}
  /// The same, with memory for as many tokens as the levels would hold.
  LeafBuffer(int level, Index leaves, Index key_rows, Index d_v)
      : LeafBuffer(level, leaves, key_rows, d_v, Index{1} << level) {}

  /// b, so that B is about the smaller side of a level, but no more levels than there are.
  [[nodiscard]] static int level_for(int max_levels, Index key_rows, Index d_v) {
    const auto side = static_cast<std::uint64_t>((std::min)(key_rows, d_v));
    const int level = static_cast<int>(std::bit_width(side)) - 1;
    return std::clamp(level, 0, (std::min)(most_levels, max_levels - 1));
  }

  [[nodiscard]] int level() const { return static_cast<int>(level_); }  // b
  [[nodiscard]] Index capacity() const { return Index{1} << level_; }   // B, in tokens
  [[nodiscard]] Index count() const { return count_; }                  // tokens
  [[nodiscard]] Index leaves() const { return leaves_; }                // of a token
  [[nodiscard]] Index leaf_count() const { return count_ * leaves_; }   // of all tokens
  [[nodiscard]] Index leaf_capacity() const { return capacity() * leaves_; }
  [[nodiscard]] Index key_rows() const { return keys_.cols(); }
  [[nodiscard]] Index d_v() const { return values_.cols(); }
  [[nodiscard]] std::size_t byte_count() const {
    return static_cast<std::size_t>(leaf_count() * (key_rows() + d_v() + (has_factors ? 1 : 0))) *
           sizeof(Scalar);
  }

  void clear() noexcept { count_ = 0; }
  void append(const Token<Kind>& token) {
    // Column by column there, row by row here: the same order in memory.
    copy(token.keys.data(), leaves_ * key_rows(), key(leaf_count()));
    copy(token.values.data(), leaves_ * d_v(), value(leaf_count()));
    open(1);
  }
  /// Tokens that write nothing.
  void append_zeros(Index tokens) {
    std::fill_n(key(leaf_count()), tokens * leaves_ * key_rows(), Scalar(0));
    std::fill_n(value(leaf_count()), tokens * leaves_ * d_v(), Scalar(0));
    open(tokens);
  }
  /// The leaves from `first` on become those of a buffer of the same shape and count.
  void replace_from(Index first, const LeafBuffer& other) {
    const Index n = leaf_count() - first;
    copy(other.key(first), n * key_rows(), key(first));
    copy(other.value(first), n * d_v(), value(first));
    if constexpr (has_factors) copy(other.factors_.data() + first, n, factors_.data() + first);
  }

  /// Every leaf undergoes the transition of the token for which a read found `looked_up`.
  void undergo(const Kind& transition, [[maybe_unused]] const LookUp<Kind>& looked_up) {
    const Index n = leaf_count();
    if constexpr (has_factors) {
      scale_by<Scalar>(transition.factor(), factors_.data(), n);
    } else if constexpr (looks_up<Kind>) {
      transition.left(ColumnsView<Scalar>(keys_.data(), key_rows(), n), looked_up.found.data());
    } else if constexpr (!OneFactor<Kind>) {
      if (n > 0) transition.left(ColumnsView<Scalar>(keys_.data(), key_rows(), n));
      if constexpr (scales_values<Kind>) {
        transition.right(Eigen::Map<RowMajorMatrix<Scalar>>(values_.data(), n, d_v()));
      }
    }
  }
  /// Every leaf undergoes a product of transitions; allocates.
  template <class Product>
  void undergo_product(const Product& product) {
    if constexpr (requires { product.factor(); }) {
      if constexpr (has_factors) scale_by<Scalar>(product.factor(), factors_.data(), leaf_count());
    } else {
      Vector<Scalar> scratch(key_rows());
      for (Index j = 0; j < leaf_count(); ++j) {
        product.push(key(j), scratch.data());
        product.right(value(j));
      }
    }
  }
  /// Clears what has decayed to nothing: denormal numbers would be slow.
  void clear_negligible() {
    const Index n = leaf_count();
    detail::clear_negligible(factors_.data(), has_factors ? n : 0);
    detail::clear_negligible(keys_.data(), OneFactor<Kind> ? 0 : n * key_rows());
    detail::clear_negligible(values_.data(), scales_values<Kind> ? n * d_v() : 0);
  }

  /// out += sum_l lambda[seen(l)] S_l^T query over the levels that the buffer stands for. Unless
  /// `next` is null, also finds what writing it takes. Writes k . query of each leaf to `scores`.
  /// `Apart`: each term is added to row seen(l) of `out` instead.
  template <bool Apart = false>
  void read(const LevelQuery<Scalar>& query, const SeenLevels& seen, Scalar* scores, Scalar* out,
            [[maybe_unused]] const Kind* next, [[maybe_unused]] LookUp<Kind>* looked_up) const {
    if (count_ == 0) return;
    if (!looks_up<Kind> || next == nullptr) {
      row_dots(keys_.data(), leaf_count(), key_rows(), key_rows(), query.query, scores);
    } else if constexpr (looks_up<Kind>) {
      row_dots(keys_.data(), leaf_count(), key_rows(), key_rows(), query.query, next->p.data(),
               scores, looked_up->found.data());
    }
    if constexpr (has_factors) multiply(scores, factors_.data(), leaf_count(), scores);
    const auto sum_rows = [&](const auto* terms, int count, Scalar* sum) {
      weighted_rows<true, 8>(terms, count, d_v(), d_v(), sum);
    };
    std::array<WeightedRows<Scalar, Scalar>, most_levels> terms;
    std::size_t levels = 0;
    for_each_level([&](int l, Index first, Index count) {
      terms[levels] = {value(first), count, {scores + first}, query.lambda[seen(l)]};
      if constexpr (Apart) sum_rows(&terms[levels], 1, out + seen(l) * d_v());
      ++levels;
    });
    if constexpr (!Apart) sum_rows(terms.data(), static_cast<int>(levels), out);
  }
  /// For cotangents d_l of that read: t.d_old_query += sum_l lambda[seen(l)] S_l d_l, and
  /// d_lambda[seen(l)] += d_l . S_l^T query.
  void pull_back(const LevelQuery<Scalar>& query, const SeenLevels& seen, const Scalar* scores,
                 const Cotangents<Scalar>& d, PullbackMemory<Kind>& t, Scalar* d_lambda) const {
    if (count_ == 0) return;
    Scalar* const d_scores = t.d_scores.data();
    if (d.stride == 0) row_dots(values_.data(), leaf_count(), d_v(), d_v(), d.first, d_scores);
    for_each_level([&](int l, Index first, Index count) {
      const int at = seen(l);
      if (d.stride != 0) row_dots(value(first), count, d_v(), d_v(), d(at), d_scores + first);
      d_lambda[at] += dot(d_scores + first, scores + first, count);
      scale_by(query.lambda[at], d_scores + first, count);
    });
    if constexpr (has_factors) multiply(d_scores, factors_.data(), leaf_count(), d_scores);
    weighted_rows<true>(keys_.data(), leaf_count(), key_rows(), key_rows(), d_scores,
                        t.d_old_query.data());
  }

  /// bucket = the sum of all leaves, row-major; the buffer is empty then.
  void move_into(Scalar* bucket) {
    const Index n = leaf_count();
    if constexpr (has_factors) {
      const auto factor = [&](Index j) { return factors_[j]; };
      scale<Scalar, Scalar>(keys_.data(), n, key_rows(), key_rows(), factor, nullptr);
    }
    const LeftOperand<Scalar> keys{keys_.data(), 1, key_rows()};  // transposed
    product_kernel(Into::replace, keys, key_rows(), n, d_v(), values_.data(), d_v(), bucket, d_v());
    clear();
  }
  /// Pushes every token into levels, one after the other.
  template <class Levels>
  void push_into(Levels& levels) const {
    for (Index token = 0; token < count_; ++token) {
      const Index first = token * leaves_;
      const Scalar* const factors = has_factors ? factors_.data() + first : nullptr;
      levels.carry_bucket(0, leaves_, {key(first), 1, key_rows(), factors}, value(first));
    }
  }

  /// A bound of the Frobenius norm of all leaves together.
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(leaf_count()) * std::sqrt(static_cast<double>(key_rows() * d_v())) *
           max_abs(keys_.data(), leaf_count() * key_rows()) *
           max_abs(values_.data(), leaf_count() * d_v());
  }
  /// Throws unless the first leaves are finite.
  void require_finite_leaves(Index leaves) const {
    for (Index j = 0; j < leaves; ++j) {
      require_finite("coefficient # of the buffered key", key(j), key_rows());
      require_finite("coefficient # of the buffered value", value(j), d_v());
    }
  }

  /// Makes room for what another buffer holds now; what this one holds stays.
  void reserve(const LeafBuffer& other) {
    if (keys_.rows() >= other.leaf_count()) return;
    LeafBuffer roomier(level(), leaves_, key_rows(), d_v(), other.count_);
    roomier.assign(*this);
    *this = std::move(roomier);
  }
  /// Becomes a copy of the other one in this scalar; there must be room for what that holds.
  template <class OtherKind>
  void assign(const LeafBuffer<OtherKind>& other) {
    fields(AssignField{}, *this, other);
  }
  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("buffered", count_field(self.count_, self.capacity() - 1)...);
    use("buffered_keys", rows_field(self.keys_, self.leaf_count())...);
    use("buffered_values", rows_field(self.values_, self.leaf_count())...);
    if constexpr (has_factors) {
      use("buffered_factors", rows_field(self.factors_, self.leaf_count())...);
    }
  }
  template <class Self>
  static auto fixed(Self& self) {
    if constexpr (has_factors) {
      return std::tie(self.level_, self.leaves_);
    } else {
      return std::tie(self.level_, self.leaves_, self.factors_);  // none
    }
  }
  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
    for (Index j = 0; j < self.leaf_count() && is_written<Self>; ++j) {
      const double leaf = std::sqrt(static_cast<double>(self.key_rows() * self.d_v())) *
                          max_abs(self.key(j), self.key_rows()) *
                          max_abs(self.value(j), self.d_v());
      require_between("the magnitude of a buffered leaf", leaf, 0.0, magnitude_limit<Scalar>());
    }
  }

 private:
  template <class>
  friend class LeafBuffer;

  [[nodiscard]] Scalar* key(Index leaf) { return keys_.data() + leaf * key_rows(); }
  [[nodiscard]] const Scalar* key(Index leaf) const { return keys_.data() + leaf * key_rows(); }
  [[nodiscard]] Scalar* value(Index leaf) { return values_.data() + leaf * d_v(); }
  [[nodiscard]] const Scalar* value(Index leaf) const { return values_.data() + leaf * d_v(); }
  /// Counts `tokens` more tokens, whose leaves already stand behind the last one.
  void open(Index tokens) {
    if constexpr (has_factors) {
      std::fill_n(factors_.data() + leaf_count(), tokens * leaves_, Scalar(1));
    }
    count_ += tokens;
  }
  /// Calls `visit(level, first leaf, leaves)` for the levels that the buffer stands for.
  template <class Visit>
  void for_each_level(Visit visit) const {
    const auto count = static_cast<std::uint64_t>(count_);
    for (int l : ActiveLevels(count, max_level_limit)) {
      const Bucket bucket = bucket_of(count, l, max_level_limit);
      visit(l, static_cast<Index>(bucket.first) * leaves_,
            static_cast<Index>(bucket.size) * leaves_);
    }
  }

  Index level_, leaves_;
  Index count_ = 0;
  RowMajorMatrix<Scalar> keys_;  // one row a leaf, as it is now except for its factor
  RowMajorMatrix<Scalar> values_;
  Vector<Scalar> factors_;  // what keys are still to be multiplied by, of OneFactor kinds
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEAF_BUFFER_HPP
