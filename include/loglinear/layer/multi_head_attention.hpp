// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP
#define LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/many_heads.hpp"
#include "loglinear/layer/span_gradient.hpp"
#include "loglinear/layer/step.hpp"

namespace loglinear {

/// Several heads of one layer type on the same input: `output = W_out [o_1; ..; o_H]` with the
/// heads' raw reads o_h, and the tanh of that where `bound` says so.
///
/// `forward` reads in the heads' order, which here is `after_push` unless the options say
/// otherwise; `query_readonly` reads the state as it stands. Weights are drawn head by head from
/// one seed, then W_out (d_model x n_heads d_v). With `threads` > 1 the heads of a token run on the
/// threads of parallel/executor.hpp: `threads_used()` tells on how many. Each head's arithmetic is
/// its own, so that the bits do not depend on the number of threads.
///
/// Outputs and targets have length d_model. Errors as in `LogLinearAttention`: what throws for one
/// head changes none of them. Tokens do not allocate, except to start threads and for an executor.
///
/// \tparam Layer_  `LogLinearAttention<...>` or `LinearAttention<...>`
template <class Layer_>
class MultiHeadAttention : public ManyHeads<Layer_> {
  static_assert(detail::HasHead<Layer_>,
                "MultiHeadAttention takes a layer: LogLinearAttention<Rule> or "
                "LinearAttention<Rule>");
  using Base = ManyHeads<Layer_>;
  using Head = typename Layer_::Head;
  using Base::heads_;
  using Base::out_;
  using typename Base::Flush;

 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using typename Base::Rows;

  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  struct Workspace {
    typename Layer::Workspace head;  ///< of one head after the other
    Vector reads;                    ///< of all heads
    Vector output;                   ///< what is returned
  };

  /// How to build a layer of heads; d_model, d_k and d_v must be given.
  struct Options {
    typename Head::Inner inner{};  ///< the rule with its hyperparameters
    Index d_model = 0;             ///< length of x and of the output, 1 to 2^26
    Index d_k = 0;                 ///< length of a head's keys, 1 to 2^26
    Index d_v = 0;                 ///< length of a head's values, 1 to 2^26
    int n_heads = 4;               ///< at least 1; n_heads d_v at most 2^26
    int max_levels = typename Layer::Options{}.max_levels;  ///< of every head, 1 to 64
    typename Head::Weights level_weights{};                 ///< the policy of every head
    ReadOrder read_order = ReadOrder::after_push;           ///< what `forward` reads
    std::optional<double> learning_rate{};                  ///< of the heads and of W_out
    std::optional<Step> step{};                             ///< as in `LogLinearAttention::Options`
    std::optional<bool> bias{};                             ///< of the heads, as there
    double weight_scale = 0.01;                             ///< of the heads, as there
    std::uint64_t seed = 42;                                ///< of all weights
    OutputBound bound = OutputBound::always;                ///< where the tanh is
    int threads = 1;  ///< most threads for the heads, at least 1; see `threads_used()`
  };

  /// Allocates the heads and draws all weights. \throws std::invalid_argument for an option out of
  /// its range
  explicit MultiHeadAttention(const Options& options)
      : Base(first_head(checked(options)), options.n_heads, options.threads, options.d_model,
             options.bound, options.seed),
        reads_(detail::zeros<Scalar>(this->width())),
        d_reads_(reads_),
        output_(detail::zeros<Scalar>(options.d_model)),
        target_(output_),
        d_output_(output_) {}

  /// \name Copies and moves
  /// As those of `LogLinearAttention`.
  /// \{
  MultiHeadAttention(const MultiHeadAttention&) = default;  ///< allocates
  MultiHeadAttention(MultiHeadAttention&&) = default;       ///< does not allocate
  MultiHeadAttention& operator=(const MultiHeadAttention& other) {
    return *this = MultiHeadAttention(other);
  }                                                               ///< a copy; allocates
  MultiHeadAttention& operator=(MultiHeadAttention&&) = default;  ///< does not allocate
  /// \}

  /// \name A token
  /// Only `make_workspace` allocates, apart from starting threads and from an executor. All throw
  /// as those of `LogLinearAttention`; no head has changed then.
  /// \{

  /// All heads read in the layer's order and write. \return the output, overwritten by the next
  /// call
  template <class In>
  const Vector& forward(const In& x) {
    const Flush flush;
    stage(x, order());
    out_.apply(reads_, output_);
    commit();
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = forward(x);
  }

  /// All heads read the state as it stands; nothing changes. \return as `forward`
  template <class In>
  const Vector& query_readonly(const In& x) {
    const Flush flush;
    this->for_each_head([&](Head& head, Index begin) {
      head.query(x);
      take_read(head.workspace(), begin, reads_);
    });
    out_.apply_readonly(reads_, output_);
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory, one head after the other; safe from several threads, a
  /// workspace each. \return the output, which lies in the workspace. \throws
  /// std::invalid_argument also for a workspace of a layer of another shape
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    detail::require_size("the workspace's reads", workspace.reads.size(), this->width());
    detail::require_size("the workspace's output", workspace.output.size(), this->output_dim());
    for (int h = 0; h < this->n_heads(); ++h) {
      this->head(h).as_head().query(x, workspace.head);
      take_read(workspace.head, h * this->d_v(), workspace.reads);
    }
    out_.apply_readonly(workspace.reads, workspace.output);
    return workspace.output;
  }
  /// Memory for it; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    return {this->first().make_workspace(), detail::zeros<Scalar>(reads_.size()),
            detail::zeros<Scalar>(output_.size())};
  }

  /// As `LogLinearAttention::train_one`: one step against the gradient of `1/2 |o - y|^2`, through
  /// W_out into every head, then the token is written. \param y length d_model \return the output o
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    const Flush flush;
    const ReadOrder order = training_order();
    detail::load_vector(y, "y", target_);
    stage(x, order, Head::For::learning);
    out_.apply(reads_, output_);
    detail::subtract(output_.data(), target_.data(), output_.size(), d_output_.data());
    out_.pull_back_bound(output_.data(), output_.size(), d_output_.data());
    d_reads_.noalias() = out_.weights().get("w_out").transpose() * d_output_;
    this->for_each_head([&](Head& head, Index begin) {
      head.stage_gradient(detail::ConstVectorView<Scalar>(d_reads_.data() + begin, this->d_v()));
    });
    out_.stepper().see(reads_);
    out_.stepper().admit(out_.weights(), d_output_, reads_, no_free_);
    out_.stepper().take(out_.weights(), d_output_, reads_, no_free_);
    this->for_each_head([](Head& head, Index) { head.learn(); });
    commit();
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = train_one(x, y);
  }
  /// \}

  /// \name A span of T tokens at once
  /// As `LogLinearAttention` has them for one head: inputs T x d_model, outputs and targets
  /// T x d_model.
  /// \{

  /// T calls of `forward`. \param x T x d_model \return the outputs, T x d_model
  template <class In>
  Rows forward_span(const Eigen::MatrixBase<In>& x) {
    const Flush flush;
    detail::Rollback rollback(heads_);
    const Rows reads = this->read_span(x, order());
    Rows out = out_.apply(reads);
    rollback.keep();
    return out;
  }

  /// The gradient of `sum(d_out * forward_span(x))`. Nothing changes. \param d_out T x d_model
  template <class In, class DOut>
  [[nodiscard]] MultiHeadSpanGradient<Scalar> span_gradient(
      const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<DOut>& d_out) const {
    const Flush flush;
    detail::require_matrix("d_out", d_out, x.rows(), this->output_dim());
    MultiHeadAttention copy(*this);
    const Rows reads = copy.read_span(x, order());
    return copy.pull_back_span(heads_, x, order(), reads, out_.apply(reads), Rows(d_out));
  }

  /// One step against the gradient of `1/2 sum |o - y|^2`, through W_out into every head, then the
  /// T tokens are written; see `LogLinearAttention::train_span`. \param y T x d_model
  template <class In, class Target>
  Rows train_span(const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<Target>& y) {
    const Flush flush;
    detail::require_matrix("y", y, x.rows(), this->output_dim());
    detail::Rollback undo(heads_);
    for (Layer& head : heads_) head.as_head().look_at_span(x);
    detail::Rollback rollback(heads_);
    const Rows reads = this->read_span(x, training_order());
    const Rows out = out_.apply(reads);
    const auto gradient =
        this->pull_back_span(rollback.before(), x, training_order(), reads, out, Rows(out - y));
    auto d_out = out_.weights().zeros();
    d_out.set("w_out", gradient.w_out);
    for (std::size_t h = 0; h < gradient.heads.size(); ++h) {
      heads_[h].as_head().descend(gradient.heads[h]);
    }
    out_.stepper().take(out_.weights(), d_out);
    rollback.keep();
    undo.keep();
    return out;
  }
  /// \}

  /// Where the tanh is.
  [[nodiscard]] OutputBound bound() const noexcept { return out_.bound(); }

 private:
  /// Checks the sizes, whose product is the width of W_out, before the heads are made.
  static const Options& checked(const Options& options) {
    detail::require_length("d_model", options.d_model);
    detail::require_length("d_k", options.d_k);
    detail::require_length("d_v", options.d_v);
    detail::require_positive("n_heads", options.n_heads);
    detail::require_positive("threads", options.threads);
    detail::require_length("n_heads * d_v", options.n_heads * options.d_v);
    return options;
  }
  static Layer first_head(const Options& options) {
    return Layer({.inner = options.inner,
                  .d_model = options.d_model,
                  .d_k = options.d_k,
                  .d_v = options.d_v,
                  .max_levels = options.max_levels,
                  .level_weights = options.level_weights,
                  .read_order = options.read_order,
                  .learning_rate = options.learning_rate,
                  .step = options.step,
                  .bias = options.bias,
                  .weight_scale = options.weight_scale,
                  .seed = options.seed});
  }

  [[nodiscard]] ReadOrder order() const { return this->first().read_order(); }
  [[nodiscard]] ReadOrder training_order() const {
    return this->first().as_head().training_order();
  }
  /// Every head prepares the token and reads. If one throws, none has changed.
  template <class In>
  void stage(const In& x, ReadOrder order, typename Head::For purpose = Head::For::reading) {
    this->for_each_head([&](Head& head, Index begin) {
      head.stage(x, order, purpose);
      take_read(head.workspace(), begin, reads_);
    });
  }
  /// Every head writes what it has staged.
  void commit() {
    this->for_each_head([](Head& head, Index) { head.commit(); });
  }
  static void take_read(const typename Head::Workspace& head, Index begin, Vector& reads) {
    detail::copy(head.read.data(), head.read.size(), reads.data() + begin);
  }

  Vector reads_, d_reads_, output_, target_, d_output_;
  Vector no_free_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP
