// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_DETAIL_BLOCK_HPP
#define LOGLINEAR_MODEL_DETAIL_BLOCK_HPP

// One block of a language model, x <- x + mixer(rms(x)), x <- x + mlp(rms(x)), around any of the
// mixers.

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/mixers/gated_rms_norm.hpp"
#include "loglinear/mixers/gates.hpp"
#include "loglinear/mixers/linear.hpp"
#include "loglinear/mixers/log_linear_gated_delta_net.hpp"
#include "loglinear/mixers/log_linear_mamba2.hpp"
#include "loglinear/model/language_model_cache.hpp"
#include "loglinear/model/sliding_window_attention.hpp"

namespace loglinear::detail {

/// rms(x) . weight, for a row a token.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> rms_norm(const RowMajorMatrix<Scalar>& x, double eps,
                                              const Matrix<Scalar>& weight) {
  const GatedRmsNorm<Scalar> norm(GateOrder::norm_first, x.cols(), eps, weight);
  return norm(x, RowMajorMatrix<Scalar>());
}

/// W_down (silu(W_gate x) . (W_up x)), some rows at a time, on threads.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> gated_mlp(const RowMajorMatrix<Scalar>& x,
                                               const NamedWeights<Scalar>& w) {
  using Rows = RowMajorMatrix<Scalar>;
  constexpr Index rows_at_once = 128;
  Rows out(x.rows(), x.cols());
  parallel_for<Scalar>(
      (x.rows() + rows_at_once - 1) / rows_at_once, thread_count(), [&](Index part) {
        const Index first = part * rows_at_once;
        const Index count = (std::min)(rows_at_once, x.rows() - first);
        const Rows some = x.middleRows(first, count);
        Rows hidden = silu_of(linear<Scalar>(some, w.projection("mlp.gate_proj.weight"), nullptr));
        hidden.array() *= linear<Scalar>(some, w.projection("mlp.up_proj.weight"), nullptr).array();
        require_finite("coefficient # of the MLP's hidden channels", hidden);
        out.middleRows(first, count) =
            linear<Scalar>(hidden, w.projection("mlp.down_proj.weight"), nullptr);
      });
  return out;
}

/// What a block's tokens write to its caches, once all blocks have read.
template <class Scalar>
using StagedBlock =
    std::variant<StagedTokens<Scalar>, typename SlidingWindowAttention<Scalar>::Staged>;

template <class Scalar>
class Block {
 public:
  using Rows = RowMajorMatrix<Scalar>;
  using Cache = typename LanguageModelCache<Scalar>::Layer;
  using Mixer = std::variant<LogLinearMamba2<Scalar>, LogLinearGatedDeltaNet<Scalar>,
                             SlidingWindowAttention<Scalar>>;

  /// Draws the weights outside of the mixer. \param channels  of the MLP; 0 for none
  /// \param mixer_name  what the family calls the mixer
  Block(Mixer mixer, Index inputs, Index channels, double eps, double deviation,
        std::string mixer_name, Xorshift64& random)
      : mixer_(std::move(mixer)), eps_(eps), mixer_name_(std::move(mixer_name)) {
    has_mlp_ = channels > 0;
    weights_.append(norm_name(), inputs, 1).setOnes();
    if (!has_mlp_) return;
    weights_.append("mlp_norm.weight", inputs, 1).setOnes();
    fill_normal(weights_.append("mlp.gate_proj.weight", channels, inputs), deviation, random);
    fill_normal(weights_.append("mlp.up_proj.weight", channels, inputs), deviation, random);
    fill_normal(weights_.append("mlp.down_proj.weight", inputs, channels), deviation, random);
  }

  /// An empty cache.
  [[nodiscard]] Cache make_cache() const {
    return std::visit([](const auto& mixer) { return Cache(mixer.make_cache()); }, mixer_);
  }

  /// The next tokens of a stream. \throws std::invalid_argument as `TokenMixer::forward`
  void forward(Rows& x, Cache& cache) const {
    with_cache(cache, [&](const auto& mixer, auto& one) {
      x += mixer.forward(rms_norm(x, eps_, weights_[norm_name()]), one);
    });
    add_mlp(x);
  }

  /// Takes one token of each of several streams: changes x, but not yet the caches.
  [[nodiscard]] StagedBlock<Scalar> stage(Rows& x, const std::vector<Cache*>& caches) const {
    const Rows normed = rms_norm(x, eps_, weights_[norm_name()]);
    auto staged = std::visit(
        [&](const auto& mixer) {
          using One = decltype(mixer.make_cache());
          std::vector<One*> ones;
          for (Cache* cache : caches) ones.push_back(&cache_of<One>(*cache));
          auto [out, tokens] = mixer.stage(normed, std::span<One* const>(ones));
          x += out;
          return StagedBlock<Scalar>(std::move(tokens));
        },
        mixer_);
    add_mlp(x);
    return staged;
  }

  /// Calls `use(name, holder, name within the holder)` for every weight; a holder is a mixer or the
  /// block's own weights.
  template <class Self, class Use>
  static void for_each_weight(Self& self, Use use) {
    const auto own = [&](const std::string& name) { use(name, self.weights_, name); };
    own(self.norm_name());
    std::visit(
        [&](auto& mixer) {
          for (const std::string& name : mixer.weight_names()) {
            use(self.mixer_name_ + '.' + name, mixer, name);
          }
        },
        self.mixer_);
    for (const std::string& name : self.weights_.names()) {
      if (name != self.norm_name()) own(name);
    }
  }

  void keep_projections_narrow() {
    weights_.keep_projections_narrow();
    std::visit([](auto& mixer) { mixer.keep_projections_narrow(); }, mixer_);
  }
  [[nodiscard]] std::size_t weight_bytes() const {
    return weights_.bytes() +
           std::visit([](const auto& mixer) { return mixer.weight_bytes(); }, mixer_);
  }

 private:
  [[nodiscard]] std::string norm_name() const {
    return has_mlp_ ? mixer_name_ + "_norm.weight" : "norm.weight";
  }

  template <class One>
  [[nodiscard]] static One& cache_of(Cache& cache) {
    if (One* const one = std::get_if<One>(&cache)) return *one;
    fail("cache", "of another shape", "made by make_cache of such a model");
  }
  template <class Use>
  void with_cache(Cache& cache, Use use) const {
    std::visit(
        [&](const auto& mixer) { use(mixer, cache_of<decltype(mixer.make_cache())>(cache)); },
        mixer_);
  }

  void add_mlp(Rows& x) const {
    require_finite("coefficient # of the residual stream", x);
    if (!has_mlp_) return;
    x += gated_mlp(rms_norm(x, eps_, weights_["mlp_norm.weight"]), weights_);
    require_finite("coefficient # of the residual stream", x);
  }

  Mixer mixer_;
  double eps_;
  bool has_mlp_ = true;
  std::string mixer_name_;
  NamedWeights<Scalar> weights_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODEL_DETAIL_BLOCK_HPP
