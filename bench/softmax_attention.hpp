// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_SOFTMAX_ATTENTION_HPP
#define LOGLINEAR_BENCH_SOFTMAX_ATTENTION_HPP

// The rival: causal softmax attention, exact, block by block with a running maximum and sum (Dao et
// al., FlashAttention, arXiv:2205.14135), so that scores never leave the nearest caches. Blocks of
// keys that a block of queries cannot see are skipped.
//
// All operands are read transposed, a column a token. A query's scores against a block of keys are
// then contiguous, and maximum, exponential (Eigen's packets) and sum are vectorised loops.

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

namespace bench {

using Eigen::Index;

class SoftmaxAttention {
 public:
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  /// out_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(d_k)) v_s, for T x d matrices.
  void operator()(const Matrix& q, const Matrix& k, const Matrix& v, Matrix& out) {
    const Index length = q.rows();
    const Columns queries(q.data(), q.cols(), length), keys(k.data(), k.cols(), length),
        values(v.data(), v.cols(), length);
    out.resize(length, v.cols());
    Eigen::Map<Eigen::MatrixXf> reads(out.data(), v.cols(), length);
    const float scale = 1 / std::sqrt(static_cast<float>(q.cols()));
    for (Index first = 0; first < length; first += query_block) {
      const Index count = std::min(query_block, length - first);
      scaled_ = scale * queries.middleCols(first, count);
      sums_.setZero(count);
      maxima_.setConstant(count, std::numeric_limits<float>::lowest());
      reads_.setZero(v.cols(), count);
      for (Index key = 0; key < first + count; key += key_block) {
        const Index seen = std::min(key_block, first + count - key);
        scores_.resize(seen, count);
        scores_.noalias() = keys.middleCols(key, seen).transpose() * scaled_;
        for (Index t = 0; t < count; ++t) attend(t, first + t + 1 - key);
        reads_.noalias() += values.middleCols(key, seen) * scores_;
      }
      for (Index t = 0; t < count; ++t) reads.col(first + t) = reads_.col(t) / sums_[t];
    }
  }

 private:
  using Columns = Eigen::Map<const Eigen::MatrixXf>;
  static constexpr Index query_block = 64, key_block = 256;

  /// Scores of query t become weights relative to its running maximum; `visible` keys count.
  void attend(Index t, Index visible) {
    auto scores = scores_.col(t);
    if (visible < scores.size()) {
      scores.tail(scores.size() - std::max<Index>(visible, 0)).setZero();
      if (visible <= 0) return;
    }
    auto seen = scores.head(std::min(visible, scores.size()));
    const float maximum = std::max(maxima_[t], seen.maxCoeff());
    if (maximum > maxima_[t]) {
      const float shrink = std::exp(maxima_[t] - maximum);
      sums_[t] *= shrink;
      reads_.col(t) *= shrink;
      maxima_[t] = maximum;
    }
    seen.array() = (seen.array() - maximum).exp();
    sums_[t] += seen.sum();
  }

  Eigen::MatrixXf scaled_;  // queries of a block, times 1 / sqrt(d_k)
  Eigen::MatrixXf scores_;  // a column a query
  Eigen::MatrixXf reads_;   // sum of weights times values so far
  Eigen::VectorXf sums_, maxima_;
};

/// The same by its definition, one query after the other.
inline SoftmaxAttention::Matrix naive_softmax_attention(const SoftmaxAttention::Matrix& q,
                                                        const SoftmaxAttention::Matrix& k,
                                                        const SoftmaxAttention::Matrix& v) {
  SoftmaxAttention::Matrix out(q.rows(), v.cols());
  for (Index t = 0; t < q.rows(); ++t) {
    Eigen::VectorXd weights = (k.topRows(t + 1) * q.row(t).transpose()).cast<double>() /
                              std::sqrt(static_cast<double>(q.cols()));
    weights = (weights.array() - weights.maxCoeff()).exp();
    weights /= weights.sum();
    out.row(t) = (weights.transpose() * v.topRows(t + 1).cast<double>()).cast<float>();
  }
  return out;
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_SOFTMAX_ATTENTION_HPP
