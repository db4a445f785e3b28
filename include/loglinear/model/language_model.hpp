// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_LANGUAGE_MODEL_HPP
#define LOGLINEAR_MODEL_LANGUAGE_MODEL_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/model/detail/block.hpp"
#include "loglinear/model/detail/mixer_of.hpp"
#include "loglinear/model/language_model_cache.hpp"
#include "loglinear/model/language_model_options.hpp"

namespace loglinear {

/// A whole language model: tokens in, logits of the next token out.
///
///     x = embedding of the tokens
///     block by block:  x <- x + mixer(rms(x))
///                      x <- x + W_down (silu(W_gate rms(x)) . (W_up rms(x)))
///     logits = W_head rms(x),   rms(x) = w . x / sqrt(mean(x^2) + norm_eps)
///
/// The mixers are log-linear Mamba-2 or log-linear Gated DeltaNet (Guo et al., arXiv:2506.04761),
/// their twins with one state, and softmax attention over a window in the blocks that
/// `LanguageModelOptions::attn` lists. Names and shapes of weights are those of
/// flash-linear-attention's `LogLinearMamba2ForCausalLM` and `GatedDeltaNetForCausalLM`;
/// docs/models.md lists them, and `load_language_model` (checkpoint/language_model.hpp) reads a
/// folder that was written there.
///
///     loglinear::LanguageModel<float> model(options);
///     auto cache = model.make_cache();
///     auto logits = model.prefill(prompt, cache);     // after the last token of the prompt
///     logits = model.step(token, cache);              // one token more
///     auto snapshot = cache;                          // and back: cache = snapshot
///
/// A whole sequence takes the chunkwise form on all threads, O(T log T). A token costs one product
/// with each weight and, in each head, O(active levels) reads of a level. A stream needs constant
/// memory, except for attention: that keeps the tokens of its window, or all tokens without one.
///
/// Const member functions may run at the same time, on different caches. They allocate. \throws
/// std::invalid_argument, each of them, for a token that is not 0 ... vocab_size - 1, a cache of
/// another model's shape, or where finite weights overflow; caches are unchanged then.
///
/// \tparam Scalar_  float or double
template <class Scalar_>
class LanguageModel {
 public:
  using Scalar = Scalar_;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::RowMajorMatrix<Scalar>;  ///< a row a token, or a row a stream
  using Cache = LanguageModelCache<Scalar>;
  using Tokens = std::span<const std::int32_t>;

  /// Allocates and draws all weights from the mixer's seed: those of mixers as `LogLinearMamba2`
  /// and `LogLinearGatedDeltaNet` say, norms 1, others normal with its initializer_range.
  /// \param keep_narrow  whether projections, embedding and head are kept in bfloat16, each block
  /// rounded before the next is drawn
  /// \throws std::invalid_argument for an option out of its range
  explicit LanguageModel(const LanguageModelOptions& options, bool keep_narrow = false);
  LanguageModel(const LanguageModel&) = default;
  LanguageModel(LanguageModel&&) noexcept = default;
  /// If it throws std::bad_alloc, the model stays as it was.
  LanguageModel& operator=(const LanguageModel& other) { return *this = LanguageModel(other); }
  LanguageModel& operator=(LanguageModel&&) noexcept = default;
  ~LanguageModel() = default;

  /// What the model was built with.
  [[nodiscard]] const LanguageModelOptions& options() const { return options_; }

  /// \name Weights
  /// \{

  /// The names of all weights, as in flash-linear-attention's state_dict.
  [[nodiscard]] std::vector<std::string> weight_names() const {
    std::vector<std::string> all;
    for_each_weight(*this, [&](const std::string& name, auto&, auto&) { all.push_back(name); });
    return all;
  }
  /// A copy of one weight: a matrix in its state_dict shape, a vector as n x 1, a convolution's as
  /// channels x taps. \throws std::invalid_argument for an unknown name
  [[nodiscard]] typename NamedWeights<Scalar>::Matrix weight(std::string_view name) const {
    typename NamedWeights<Scalar>::Matrix value;
    with_weight(*this, name, [&](const auto& holder, const std::string& own) {
      value = holder.widened_weight(own);
    });
    return value;
  }
  /// Replaces one weight, rounded where it is kept in bfloat16; a vector may be given as a row or
  /// as a column. \throws std::invalid_argument for an unknown name, another shape or a coefficient
  /// that is not finite; nothing is changed then
  void set_weight(std::string_view name, const typename NamedWeights<Scalar>::Matrix& value) {
    with_weight(*this, name,
                [&](auto& holder, const std::string& own) { holder.set_weight(own, value); });
  }
  /// Bytes of all weights.
  [[nodiscard]] std::size_t weight_bytes() const {
    std::size_t sum = weights_.bytes();
    for (const auto& block : blocks_) sum += block.weight_bytes();
    return sum;
  }
  /// \}

  /// \name Sequences and streams
  /// \{

  /// An empty cache, the beginning of a stream. Allocates
  [[nodiscard]] Cache make_cache() const {
    std::vector<typename Cache::Layer> layers;
    for (const auto& block : blocks_) layers.push_back(block.make_cache());
    return Cache(std::move(layers));
  }

  /// The logits after every token of a sequence, T x vocab_size.
  [[nodiscard]] Matrix logits(Tokens tokens) const {
    Cache cache = make_cache();
    return logits(tokens, cache);
  }
  /// The same for the next tokens of a stream. Pieces of any size give the logits of one pass, to
  /// rounding. Copies the cache
  [[nodiscard]] Matrix logits(Tokens tokens, Cache& cache) const {
    Matrix all(static_cast<Index>(tokens.size()), options_.vocab_size);
    pass(tokens, cache,
         [&](const Matrix& x, Index first) { all.middleRows(first, x.rows()) = head(x); });
    return all;
  }
  /// Takes the next tokens of a stream. \return the logits after the last one alone. \throws
  /// std::invalid_argument also where there is no token. Copies the cache
  Vector prefill(Tokens tokens, Cache& cache) const {
    if (tokens.empty()) detail::fail("the number of tokens", 0, "at least 1");
    Vector last(options_.vocab_size);  // before the cache changes
    pass(tokens, cache, [&](const Matrix& x, Index first) {
      const bool is_last = first + x.rows() == static_cast<Index>(tokens.size());
      if (is_last) last = head(x.bottomRows(1)).row(0).transpose();
    });
    return last;
  }
  /// Takes one token more. \return the logits after it
  Vector step(std::int32_t token, Cache& cache) const {
    Cache* const only = &cache;
    Vector logits_after(options_.vocab_size);  // before the cache changes
    logits_after = step({&token, 1}, {&only, 1}).row(0).transpose();
    return logits_after;
  }
  /// Takes one token more of each of several streams, which may stand at different places. All of
  /// them share one product with each weight. \param caches  one for each token, none of them twice
  /// \return a row a stream
  Matrix step(Tokens tokens, std::span<Cache* const> caches) const;
  /// \}

 private:
  using Index = Eigen::Index;

  template <class Self, class Use>
  static void for_each_weight(Self& self, Use use) {
    const auto own = [&](const std::string& name) { use(name, self.weights_, name); };
    own(self.prefix() + "embeddings.weight");
    for (std::size_t i = 0; i < self.blocks_.size(); ++i) {
      const std::string before = self.prefix() + "layers." + std::to_string(i) + '.';
      std::remove_reference_t<decltype(self.blocks_[i])>::for_each_weight(
          self.blocks_[i], [&](const std::string& name, auto& holder, const std::string& within) {
            use(before + name, holder, within);
          });
    }
    own(self.last_norm());
    if (!self.options_.tie_word_embeddings) own("lm_head.weight");
  }
  template <class Self, class Use>
  static void with_weight(Self& self, std::string_view name, Use use) {
    std::function<void()> found;  // called last, because the search allocates
    for_each_weight(self, [&](const std::string& full, auto& holder, const std::string& own) {
      if (full == name) found = [&holder, own, &use] { use(holder, own); };
    });
    if (!found) detail::fail("weight name", name, "one of weight_names()");
    found();
  }

  [[nodiscard]] std::string prefix() const {
    return detail::is_mamba2(options_) ? "backbone." : "model.";
  }
  [[nodiscard]] std::string last_norm() const {
    return prefix() + (detail::is_mamba2(options_) ? "norm_f.weight" : "norm.weight");
  }

  /// A row for each token of a piece, which begins at place `first`. \throws
  /// std::invalid_argument, which says where the token stands
  [[nodiscard]] Matrix embedded(Tokens tokens, std::size_t first = 0) const {
    const auto table = weights_.projection(prefix() + "embeddings.weight");
    Matrix x(static_cast<Index>(tokens.size()), detail::hidden_size(options_));
    for (Index t = 0; t < x.rows(); ++t) {
      const Index token = tokens[static_cast<std::size_t>(t)];
      if (token < 0 || token >= options_.vocab_size) {
        const std::size_t place = first + static_cast<std::size_t>(t);
        detail::require_between("tokens[" + std::to_string(place) + ']', token, Index{0},
                                options_.vocab_size - 1);
      }
      if (table.wide != nullptr) {
        x.row(t) = table.wide->row(token);
      } else {
        x.row(t) = table.narrow->row(token).template cast<Scalar>();
      }
    }
    return x;
  }
  [[nodiscard]] Matrix head(const Matrix& x) const {
    const std::string name =
        options_.tie_word_embeddings ? prefix() + "embeddings.weight" : "lm_head.weight";
    const Matrix normed = detail::rms_norm(x, detail::norm_eps(options_), weights_[last_norm()]);
    Matrix all = detail::linear<Scalar>(normed, weights_.projection(name), nullptr);
    detail::require_finite("coefficient # of the logits", all);
    return all;
  }
  void require_fitting(const Cache& cache) const {
    if (cache.layers_.size() != blocks_.size()) {
      detail::fail("cache", "of another shape", "made by make_cache of such a model");
    }
  }

  /// Calls `use(x, first)` with the last block's outputs x, for pieces of bounded size that begin
  /// with token `first`. It works on a copy of the cache, which replaces the cache in the end.
  template <class Use>
  void pass(Tokens tokens, Cache& cache, Use use) const;

  LanguageModelOptions options_;
  NamedWeights<Scalar> weights_{};
  std::vector<detail::Block<Scalar>> blocks_{};
};

// Defined here, so that a program can have them compiled in one place (`extern template class`).

template <class Scalar>
LanguageModel<Scalar>::LanguageModel(const LanguageModelOptions& options, bool keep_narrow)
    : options_(detail::checked<Scalar>(options)) {
  const auto [seed, deviation] = std::visit(
      [](const auto& o) { return std::pair(o.seed, o.initializer_range); }, options.mixer);
  const Index inputs = detail::hidden_size(options), vocabulary = options.vocab_size;
  Xorshift64 random(seed);
  detail::require_positive_number("initializer_range", deviation);
  detail::fill_normal(weights_.append(prefix() + "embeddings.weight", vocabulary, inputs),
                      deviation, random);
  for (Index i = 0; i < options.num_hidden_layers; ++i) {
    auto& block = blocks_.emplace_back(detail::mixer_of<Scalar>(options_, i, random), inputs,
                                       options.has_mlp ? detail::mlp_size(options) : 0,
                                       detail::norm_eps(options), deviation,
                                       detail::is_mamba2(options) ? "mixer" : "attn", random);
    if (keep_narrow) block.keep_projections_narrow();
  }
  weights_.append(last_norm(), inputs, 1).setOnes();
  if (!options.tie_word_embeddings) {
    detail::fill_normal(weights_.append("lm_head.weight", vocabulary, inputs), deviation, random);
  }
  if (keep_narrow) weights_.keep_projections_narrow();
}

template <class Scalar>
auto LanguageModel<Scalar>::step(Tokens tokens, std::span<Cache* const> caches) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  detail::require_size("caches", static_cast<Index>(caches.size()),
                       static_cast<Index>(tokens.size()));
  detail::require_distinct(caches);
  for (const Cache* cache : caches) require_fitting(*cache);
  Matrix x = embedded(tokens);
  if (x.rows() == 0) return Matrix(0, options_.vocab_size);
  std::vector<detail::StagedBlock<Scalar>> staged;
  staged.reserve(blocks_.size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    std::vector<typename Cache::Layer*> layers;
    for (Cache* cache : caches) layers.push_back(&cache->layers_[i]);
    staged.push_back(blocks_[i].stage(x, layers));
  }
  Matrix all = head(x);
  for (auto& block : staged) std::visit([](auto& tokens_of) { tokens_of.commit(); }, block);
  return all;
}

template <class Scalar>
template <class Use>
void LanguageModel<Scalar>::pass(Tokens tokens, Cache& cache, Use use) const {
  const detail::FlushToZero<Scalar> flush;
  constexpr std::size_t most = 4096;
  require_fitting(cache);
  Cache next(cache);
  for (std::size_t first = 0; first < tokens.size(); first += most) {
    Matrix x = embedded(tokens.subspan(first, (std::min)(most, tokens.size() - first)), first);
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i].forward(x, next.layers_[i]);
    use(x, static_cast<Index>(first));
  }
  cache = std::move(next);
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_LANGUAGE_MODEL_HPP
