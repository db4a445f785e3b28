// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_STAGED_TOKENS_HPP
#define LOGLINEAR_MIXERS_STAGED_TOKENS_HPP

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/mixers/heads_token.hpp"
#include "loglinear/mixers/mixer_cache.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"

namespace loglinear::detail {

/// Throws if one of the caches is a null pointer or occurs twice.
template <class Cache>
void require_distinct(std::span<Cache* const> caches) {
  for (std::size_t s = 0; s < caches.size(); ++s) {
    if (caches[s] == nullptr) {
      fail("caches[" + std::to_string(s) + ']', "a null pointer", "a pointer to a cache");
    }
  }
  std::vector<Cache*> sorted(caches.begin(), caches.end());
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    fail("caches", "the same cache twice", "a cache of its own for each stream");
  }
}

/// One token of each of several streams, which a mixer has read and not yet written: what a whole
/// model needs, so that all of its layers take a token or none.
template <class Scalar>
class StagedTokens {
 public:
  using Cache = MixerCache<Scalar>;

  /// \param in  a row a stream \param convolved  for each convolution the last K inputs of each
  /// stream, the newest last \throws std::invalid_argument as `HeadsToken`
  StagedTokens(const HeadInputs<Scalar>& in, std::vector<RowMajorMatrix<Scalar>> convolved,
               std::span<Cache* const> caches)
      : caches_(caches.begin(), caches.end()),
        convolved_(std::move(convolved)),
        reads_(in.v.rows(), in.v.cols()),
        tokens_(caches.size()) {
    parallel_for<Scalar>(in.v.rows(), thread_count(), [&](Index s) {
      auto& token = tokens_[static_cast<std::size_t>(s)];
      token.emplace(in, s, caches_[static_cast<std::size_t>(s)]->states_);
      token->read(in, reads_.data() + s * reads_.cols());
    });
  }

  /// A row a stream, heads d_v.
  [[nodiscard]] const RowMajorMatrix<Scalar>& reads() const { return reads_; }

  /// The caches take the tokens. Does not throw, and allocates only to start threads or for an
  /// executor.
  void commit() {
    parallel_for<Scalar>(static_cast<Index>(tokens_.size()), thread_count(), [&](Index s) {
      tokens_[static_cast<std::size_t>(s)]->write();
      Cache& cache = *caches_[static_cast<std::size_t>(s)];
      for (std::size_t i = 0; i < convolved_.size(); ++i) {
        const Index past = cache.convolutions_[i].rows();
        cache.convolutions_[i] = convolved_[i].middleRows(s * (past + 1) + 1, past);
      }
    });
  }

 private:
  std::vector<Cache*> caches_;
  std::vector<RowMajorMatrix<Scalar>> convolved_;
  RowMajorMatrix<Scalar> reads_;
  std::vector<std::optional<HeadsToken<Scalar>>> tokens_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_STAGED_TOKENS_HPP
