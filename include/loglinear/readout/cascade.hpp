// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_READOUT_CASCADE_HPP
#define LOGLINEAR_READOUT_CASCADE_HPP

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/readout/cascade_readout.hpp"
#include "loglinear/stream/detail/levels_of.hpp"
#include "loglinear/stream/level_reads.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

/// A stream of keys and values with an estimate of the value for any key, on all time scales at
/// once. It is a hierarchy whose values are (y, 1), read level by level through a `CascadeReadout`.
///
///     read:   num_l, mass_l = S_l^T q for every level l
///             e_M = prior        e_l = (num_l + kappa e_(l+1)) / (mass_l + kappa)
///     write:  push the leaf q (y, 1)^T
///
/// It is a table of means per key without a chosen decay: the last estimate e_0 follows the recent
/// past as far as that has seen the key, and the older past for the rest. As features of
/// `RecursiveLeastSquares` all estimates together are as good as a bank of tables with well-chosen
/// decays, not better. On a stream whose one best decay is known they gain nothing over it.
///
///     predict:  rls.predict(cascade.features(key))
///     learn:    rls.update(cascade.features(key), y);  cascade.write(key, y);
///
/// Coefficients of keys should be at least 0 (one-hot, softmax, squares), see `CascadeReadout`.
/// Errors: std::invalid_argument with name, value and legal range, before anything has changed. A
/// read costs one pass over the active levels, or over those of their rows where the key is not
/// zero. A write costs O(1) amortised passes over a level. Neither allocates.
template <class Scalar_ = double>
class Cascade {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Readout = CascadeReadout<Scalar>;
  using Matrix = typename Readout::Matrix;
  using Vector = typename Readout::Vector;
  using State = LogLinearState<Scalar>;

  /// How to build one; d_k must be given.
  struct Options {
    Index d_k = 0;        ///< length of keys, 1 to 2^26
    Index outputs = 1;    ///< length of y, 1 to 2^26 - 1
    int max_levels = 24;  ///< 1 to 64; floor(log2 T) + 1 resolve T tokens
    double kappa = 1;     ///< the mass of the older estimate, positive and not denormal
    double prior = 0;     ///< what every output starts from, finite
  };

  /// Allocates everything. \throws std::invalid_argument for an option out of its range
  explicit Cascade(const Options& options)
      : readout_({.outputs = options.outputs,
                  .max_levels = checked(options).max_levels,
                  .kappa = options.kappa,
                  .prior = options.prior}),
        state_(options.max_levels, options.d_k, options.outputs + 1),
        reads_(detail::zeros<Matrix>(options.max_levels, options.outputs + 1)),
        key_(detail::zeros<Scalar>(options.d_k)),
        value_(detail::ones<Scalar>(options.outputs + 1)),
        target_(detail::zeros<Scalar>(options.outputs)),
        features_(detail::zeros<Scalar>(options.max_levels * options.outputs)),
        last_(detail::zeros<Scalar>(options.outputs)),
        places_(detail::array_size(options.d_k)) {}

  /// \name A token
  /// A key or a y is any Eigen vector, std::vector, std::array or std::span. Only `grow_keys`
  /// allocates. All throw std::invalid_argument for a wrong size, a number that is not
  /// finite, or where a result would not be; nothing has changed then.
  /// \{

  /// The estimates for a key, also for one that was never written: row l is e_l, row 0 the last.
  /// The stream does not change.
  /// \param key  length d_k, finite
  /// \return max_levels x outputs, overwritten by the next call
  template <class Key>
  const Matrix& read(const Key& key) {
    const detail::FlushToZero<Scalar> flush;
    detail::load_vector(key, "key", key_);
    read_levels();
    return readout_.estimate(reads_);
  }
  /// The last estimate, e_0. \return length outputs, overwritten by the next call
  template <class Key>
  const Vector& predict(const Key& key) {
    const Matrix& estimates = read(key);
    detail::copy(estimates.data(), outputs(), last_.data());
    return last_;
  }
  /// All estimates as features, the newest first. \return length `feature_count()`, overwritten by
  /// the next call
  template <class Key>
  const Vector& features(const Key& key) {
    const Matrix& estimates = read(key);
    detail::copy(estimates.data(), estimates.size(), features_.data());
    return features_;
  }
  /// Writes the next token of the stream: under this key there was y.
  /// \param y  length outputs, finite
  template <class Key, class Value>
  void write(const Key& key, const Value& y) {
    const detail::FlushToZero<Scalar> flush;
    detail::load_vector(key, "key", key_);
    detail::load_vector(y, "y", target_);
    detail::copy(target_.data(), outputs(), value_.data());
    state_.push_leaf(key_, value_);
  }
  /// Forgets every token.
  void reset() noexcept { state_.reset(); }
  /// Makes keys longer: what was written stays under their first coefficients, and nothing is under
  /// the new ones. Keys can thus be one-hot over values that are numbered as they come. Copies all
  /// levels; allocates.
  /// \param d_k  the new length, d_k() to 2^26
  /// \throws std::invalid_argument out of that range; nothing is changed then, nor where it throws
  /// std::bad_alloc
  void grow_keys(Index d_k) {
    detail::require_between("d_k to grow to", d_k, this->d_k(), Index{1} << 26);
    State grown(state_.max_levels(), d_k, state_.d_v());
    typename State::LevelMatrix level = detail::zeros<Matrix>(d_k, state_.d_v());
    grown.replace(state_.size(), [&](int l) -> const typename State::LevelMatrix& {
      const auto before = state_.level(l);
      detail::copy(before.data(), before.size(), level.data());
      return level;
    });
    Vector key = detail::zeros<Scalar>(d_k);
    places_ = std::vector<Index>(detail::array_size(d_k));
    state_ = std::move(grown);
    key_ = std::move(key);
  }
  /// \}

  /// Takes T tokens at once, a row each: reads each key, then writes it with its y. The numbers are
  /// those of T calls, to the bit. Allocates and copies the state.
  /// \param keys  T x d_k
  /// \param y     T x outputs
  /// \return the features, T x feature_count()
  template <class Keys, class Values>
  Matrix forward_span(const Eigen::MatrixBase<Keys>& keys, const Eigen::MatrixBase<Values>& y) {
    detail::require_size("keys (columns)", keys.cols(), d_k());
    detail::require_size("y (rows)", y.rows(), keys.rows());
    detail::require_size("y (columns)", y.cols(), outputs());
    detail::require_finite("keys", keys);
    detail::require_finite("y", y);
    Cascade after(*this);
    Matrix out(keys.rows(), feature_count());
    for (Index t = 0; t < keys.rows(); ++t) {
      out.row(t) = after.features(keys.row(t)).transpose();
      after.write(keys.row(t), y.row(t));
    }
    *this = std::move(after);
    return out;
  }

  [[nodiscard]] Index d_k() const noexcept { return key_.size(); }             ///< length of keys
  [[nodiscard]] Index outputs() const noexcept { return readout_.outputs(); }  ///< length of y
  [[nodiscard]] Index feature_count() const noexcept {
    return features_.size();
  }  ///< max_levels * outputs
  [[nodiscard]] std::uint64_t size() const noexcept { return state_.size(); }  ///< tokens so far
  /// The hierarchy; column `outputs()` of a level is its mass.
  [[nodiscard]] const State& state() const noexcept { return state_; }
  /// The recurrence with kappa, the prior, and the gradients of the last `read`: `pull_back` gives
  /// the gradient of the level reads, and `level_reads_pullback` makes that of the key from it.
  [[nodiscard]] Readout& readout() noexcept { return readout_; }
  [[nodiscard]] const Readout& readout() const noexcept { return readout_; }  ///< read-only

 private:
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("", self.readout_);
    part("state", self.state_);
  }

  static const Options& checked(const Options& options) {
    detail::require_length("d_k", options.d_k);
    detail::require_between("max_levels", options.max_levels, 1, max_level_limit);
    return options;
  }

  /// Where few coefficients of the key are not zero, only their rows are read.
  void read_levels() {
    Index* const places = places_.data();
    Index count = 0;
    for (Index i = 0; i < d_k(); ++i) {
      if (!detail::is_exactly(key_[i], Scalar(0))) places[count++] = i;
    }
    if (count > d_k() / 4) return level_reads(state_, key_, reads_);
    const Index columns = reads_.cols();
    std::fill_n(reads_.data(), reads_.size(), Scalar(0));
    for (int l : state_.active_levels()) {
      const Scalar* const level = detail::levels_of(std::as_const(state_)).data(l);
      for (Index n = 0; n < count; ++n) {
        const Index i = places[n];
        detail::axpy(key_[i], level + i * columns, columns, reads_.data() + l * columns);
      }
    }
    detail::require_finite("a read of a level", reads_);
  }

  Readout readout_;
  State state_;
  Matrix reads_;
  Vector key_, value_, target_, features_, last_;
  std::vector<Index> places_;  // the coefficients of the key that are not zero
};

}  // namespace loglinear

#endif  // LOGLINEAR_READOUT_CASCADE_HPP
