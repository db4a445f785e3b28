// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP
#define LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/multi_head_block.hpp"

namespace loglinear {

/// Where a multi-head layer bounds its output by a tanh; a head itself never does there.
enum class OutputBound {
  none,     ///< nowhere: `output = W_out [o_1; ..; o_H]`
  forward,  ///< in `forward` and `train_one`, not in `query_readonly`
  always,   ///< everywhere
};

/// Several heads of one layer type on the same input: `output = W_out [o_1; ..; o_H]` with the
/// heads' raw reads o_h, then at most one tanh.
///
/// `forward` reads in the heads' order, which here is `after_push` unless the options say
/// otherwise; `query_readonly` reads the state as it stands. Weights are drawn head by head from
/// one seed, then W_out (d_model x n_heads d_v). With `threads` > 1 and OpenMP switched on in the
/// compiler the heads of a token run in parallel, and otherwise one after the other:
/// `threads_used()` tells. Each head's arithmetic is its own, so that the bits do not depend on the
/// number of threads.
///
/// Outputs and targets have length d_model. Errors as in `LogLinearAttention`: what throws for one
/// head changes none of them. Nothing allocates after construction but `state()`; with several
/// threads the OpenMP runtime may.
///
/// \tparam Layer_  `LogLinearAttention<...>` or `LinearAttention<...>`
template <class Layer_>
class MultiHeadAttention
    : public MultiHeadBlockForm<MultiHeadAttention<Layer_>, typename Layer_::Scalar> {
  using Flush = detail::FlushToZero<typename Layer_::Scalar>;
  static_assert(detail::StreamingLayer<Layer_>,
                "MultiHeadAttention takes a layer: LogLinearAttention<Rule> or "
                "LinearAttention<Rule>");

 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  /// A moment of the stream, one of each head.
  using Snapshot = std::vector<typename Layer::Snapshot>;

  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  struct Workspace {
    typename Layer::Workspace head;  ///< of one head after the other
    Vector reads;                    ///< of all heads
    Vector output;                   ///< what is returned
  };

  /// How to build a layer of heads; d_model, d_k and d_v must be given.
  struct Options {
    typename Layer::InnerRuleOfLayer inner{};  ///< the rule with its hyperparameters
    Index d_model = 0;                         ///< length of x and of the output, 1 to 2^26
    Index d_k = 0;                             ///< length of a head's keys, 1 to 2^26
    Index d_v = 0;                             ///< length of a head's values, 1 to 2^26
    int n_heads = 4;                           ///< at least 1; n_heads d_v at most 2^26
    int max_levels = typename Layer::Options{}.max_levels;  ///< of every head, 1 to 64
    typename Layer::LevelWeightsOfLayer level_weights{};    ///< the policy of every head
    ReadOrder read_order = ReadOrder::after_push;           ///< what `forward` reads
    double learning_rate = 0.05;                            ///< of the heads and of W_out
    std::uint64_t seed = 42;                                ///< of all weights
    OutputBound bound = OutputBound::always;                ///< where the tanh is
    int threads = 1;  ///< at least 1; `threads_used()` says how many they are in this program
  };

  /// Allocates the heads and draws all weights. \throws std::invalid_argument for an option out of
  /// its range
  explicit MultiHeadAttention(const Options& options)
      : bound_(options.bound), threads_(options.threads), out_(checked(options)) {
    heads_.assign(static_cast<std::size_t>(options.n_heads),
                  Layer({.inner = options.inner,
                         .d_model = options.d_model,
                         .d_k = options.d_k,
                         .d_v = options.d_v,
                         .max_levels = options.max_levels,
                         .level_weights = options.level_weights,
                         .read_order = options.read_order,
                         .learning_rate = options.learning_rate,
                         .seed = options.seed}));
    failures_.resize(heads_.size());
    out_.append(projection("w_out", options.d_model));
    Xorshift64 random(options.seed);
    for (Layer& head : heads_) head.draw_weights(random);
    out_.draw(random);
    const Index width = options.n_heads * options.d_v;
    reads_.setZero(width);
    d_reads_.setZero(width);
    output_.setZero(options.d_model);
    target_.setZero(options.d_model);
    d_output_.setZero(options.d_model);
  }

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
  /// \{

  /// All heads read and write. \return the output, length d_model, overwritten by the next call
  template <class In>
  const Vector& forward(const In& x) {
    Flush flush;
    stage(x, heads_.front().read_order(), flush);
    combine(is_bounded());
    for_each_head(flush, [](Layer& head, Index) { head.commit(); });
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = forward(x);
  }

  /// All heads read the state as it stands; nothing changes. \return as `forward`
  template <class In>
  const Vector& query_readonly(const In& x) {
    Flush flush;
    for_each_head(flush, [&](Layer& head, Index begin) {
      head.query_readonly(x);
      reads_.segment(begin, d_v()) = head.raw_read();
    });
    combine(bound_ == OutputBound::always);
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory, one head after the other; safe from several threads, a
  /// workspace each. \return the output, which lies in the workspace. \throws
  /// std::invalid_argument also for a workspace of a layer of another shape
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    detail::require_size("the workspace's reads", workspace.reads.size(), reads_.size());
    detail::require_size("the workspace's output", workspace.output.size(), output_dim());
    for (int h = 0; h < n_heads(); ++h) {
      head(h).query_readonly(x, workspace.head);
      workspace.reads.segment(h * d_v(), d_v()) = workspace.head.read;
    }
    combine(workspace.reads, workspace.output, bound_ == OutputBound::always);
    return workspace.output;
  }
  /// Memory for it; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    return {heads_.front().make_workspace(), Vector::Zero(reads_.size()),
            Vector::Zero(output_.size())};
  }

  /// One step of gradient descent on `1/2 |o - y|^2` through W_out into every head, and one token
  /// of the stream, as `LogLinearAttention::train_one`. \param y length d_model \return the output
  /// o
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    Flush flush;
    detail::load_vector(y, "y", target_);
    stage(x, heads_.front().training_order(), flush);
    const bool bounded = is_bounded();
    combine(bounded);
    d_output_ = output_ - target_;
    if (bounded) d_output_.array() *= 1 - output_.array().square();
    d_reads_.noalias() = out_.get("w_out").transpose() * d_output_;
    for_each_head(flush, [&](Layer& head, Index begin) {
      head.stage_gradient(d_reads_.segment(begin, d_v()));
    });
    out_.require_descendable(learning_rate(), d_output_, reads_, no_free_);
    out_.descend(learning_rate(), d_output_, reads_, no_free_);
    for_each_head(flush, [](Layer& head, Index) { head.commit(); });
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = train_one(x, y);
  }

  /// Empties all states; weights stay.
  void reset() noexcept {
    for (Layer& head : heads_) head.reset();
  }

  /// Jumps to a later count, as `LogLinearAttention::advance_to`. \throws std::invalid_argument
  /// unless count >= size(); nothing is changed then
  void advance_to(std::uint64_t count) {
    for (Layer& head : heads_) head.advance_to(count);
  }

  /// This moment of the stream, as `LogLinearAttention::snapshot`; allocates.
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot moment;
    snapshot(moment);
    return moment;
  }
  /// The same into a snapshot that exists. Does not allocate once that has grown to size; where
  /// it does and throws std::bad_alloc, the snapshot is what it was.
  void snapshot(Snapshot& moment) const {
    bool fits = moment.size() == heads_.size();
    for (std::size_t h = 0; fits && h < heads_.size(); ++h) fits = heads_[h].reserve(moment[h]);
    Snapshot fresh(fits ? 0 : heads_.size());
    Snapshot& into = fits ? moment : fresh;
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].snapshot(into[h]);
    if (!fits) moment.swap(fresh);
  }
  /// Goes back, or on, to a moment of this stream or of that of another layer, as
  /// `LogLinearAttention::restore`. Does not allocate. \throws std::invalid_argument for a snapshot
  /// of another shape, or one that holds nothing; nothing is changed then
  void restore(const Snapshot& moment) {
    if (moment.empty()) detail::fail("the snapshot", "empty", "one that a layer has taken");
    detail::require_size("the heads of the snapshot", static_cast<Index>(moment.size()), n_heads());
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].require_shape_of(moment[h]);
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].restore(moment[h]);
  }

  /// Appends a part of each head, see `StreamPart`; copies the heads, allocates. \throws
  /// std::invalid_argument for another number of heads and as `StreamPart::append_to`; nothing is
  /// changed then
  template <class Part>
  void append(const std::vector<Part>& parts) {
    detail::require_size("the heads of the part to append", static_cast<Index>(parts.size()),
                         n_heads());
    std::vector<Layer> whole(heads_);
    for (std::size_t h = 0; h < whole.size(); ++h) parts[h].append_to(whole[h]);
    heads_.swap(whole);
  }
  /// \}

  /// \name Shape, state and weights
  /// \{
  [[nodiscard]] Index d_model() const noexcept { return output_.size(); }     ///< length of x
  [[nodiscard]] Index output_dim() const noexcept { return output_.size(); }  ///< d_model
  [[nodiscard]] std::uint64_t size() const noexcept {
    return heads_.front().size();
  }  ///< tokens so far
  [[nodiscard]] int n_heads() const noexcept { return static_cast<int>(heads_.size()); }  ///< heads
  [[nodiscard]] OutputBound bound() const noexcept { return bound_; }  ///< where the tanh is
  /// Threads that the heads of a token run on: as many as the options say, but no more than there
  /// are heads, and 1 where the compiler's OpenMP is off.
  [[nodiscard]] int threads_used() const noexcept {
#ifdef _OPENMP
    return (std::min)(threads_, n_heads());
#else
    return 1;
#endif
  }
  /// One head, read-only. \throws std::invalid_argument unless 0 <= index < n_heads
  [[nodiscard]] const Layer& head(int index) const {
    detail::require_between("head", index, 0, n_heads() - 1);
    return heads_[static_cast<std::size_t>(index)];
  }
  /// The states of all heads one after the other, of constant length; allocates.
  [[nodiscard]] Vector state() const {
    const Index size = heads_.front().max_levels() * heads_.front().key_rows() * d_v();
    Vector all(size * n_heads());
    for (int h = 0; h < n_heads(); ++h) all.segment(h * size, size) = head(h).state();
    return all;
  }
  /// `head0.w_key`, ..., `w_out`: every weight array in the order in which they are drawn.
  [[nodiscard]] std::vector<std::string> weight_names() const {
    std::vector<std::string> names;
    for (int h = 0; h < n_heads(); ++h) {
      for (const std::string& name : head(h).weight_names()) {
        names.push_back("head" + std::to_string(h) + "." + name);
      }
    }
    names.emplace_back("w_out");
    return names;
  }
  /// One weight array; a read-only view, valid as long as the layer is neither moved nor destroyed.
  /// \throws std::invalid_argument for an unknown name
  [[nodiscard]] detail::ConstMatrixView<Scalar> weight(std::string_view name) const& {
    const auto [index, rest] = split(name);
    return index < 0 ? out_.get(rest) : head(index).weight(rest);
  }
  /// The same of a temporary: a copy.
  [[nodiscard]] detail::Matrix<Scalar> weight(std::string_view name) const&& {
    return weight(name);
  }
  /// Replaces one weight array; allocates. \throws std::invalid_argument as
  /// `LogLinearAttention::set_weight`
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    Flush flush;
    const auto [index, rest] = split(name);
    if (index < 0) {
      out_.set(rest, value);
    } else {
      heads_[static_cast<std::size_t>(index)].set_weight(rest, value);
    }
  }
  [[nodiscard]] double learning_rate() const noexcept {
    return heads_.front().learning_rate();
  }  ///< of all heads and W_out
  /// \throws std::invalid_argument unless finite and >= 0
  void set_learning_rate(double learning_rate) {
    for (Layer& head : heads_) head.set_learning_rate(learning_rate);
  }
  /// \}

 private:
  friend class MultiHeadBlockForm<MultiHeadAttention, typename Layer_::Scalar>;
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (int h = 0; h < self.n_heads(); ++h) {
      auto& head = self.heads_[static_cast<std::size_t>(h)];
      part("head" + std::to_string(h), head);
      detail::require_between("learning_rate of head " + std::to_string(h), head.learning_rate(),
                              self.learning_rate(), self.learning_rate());
    }
    part("", self.out_);
  }

  /// Whether `forward` and `train_one` bound the output.
  [[nodiscard]] bool is_bounded() const {
    return bound_ != OutputBound::none;
  }

  /// The width of W_out's input.
  static Index checked(const Options& options) {
    detail::require_length("d_model", options.d_model);
    detail::require_length("d_k", options.d_k);
    detail::require_length("d_v", options.d_v);
    detail::require_positive("n_heads", options.n_heads);
    detail::require_positive("threads", options.threads);
    const Index width = options.n_heads * options.d_v;
    detail::require_length("n_heads * d_v", width);
    return width;
  }

  [[nodiscard]] Index d_v() const {
    return heads_.front().output_dim();
  }

  /// Which head a weight name belongs to, -1 for none, and its name there.
  [[nodiscard]] std::pair<int, std::string_view> split(std::string_view name) const {
    for (int h = 0; h < n_heads(); ++h) {
      const std::string prefix = "head" + std::to_string(h) + ".";
      if (name.starts_with(prefix)) return {h, name.substr(prefix.size())};
    }
    return {-1, name};
  }

  template <class In>
  void stage(const In& x, ReadOrder order, Flush& flush) {
    for_each_head(flush, [&](Layer& head, Index begin) {
      reads_.segment(begin, d_v()) = head.stage(x, order);
    });
  }

  void combine(bool bounded) {
    combine(reads_, output_, bounded);
  }
  void combine(const Vector& reads, Vector& output, bool bounded) const {
    out_.project(reads, output);
    detail::require_finite("the output", output);
    if (bounded) output = output.array().tanh();
  }

  template <class Out>
  void require_output(const Eigen::MatrixBase<Out>& out) const {
    detail::require_vector_type<Scalar, Out>();
    detail::require_size("out", out.size(), output_dim());
  }

  /// Calls `work(head, where its read begins)` for all heads, in parallel if asked to; then throws
  /// what the first failing head threw.
  template <class Work>
  void for_each_head(Flush& flush, Work work) {
    const int count = n_heads();
    const auto one = [&](int h) {
      const auto index = static_cast<std::size_t>(h);
      failures_[index] = detail::caught([&] { work(heads_[index], h * d_v()); });
    };
    if (threads_ > 1) flush.pause();
#ifdef _OPENMP
#  pragma omp parallel for num_threads(threads_used()) if (threads_used() > 1)
#endif
    for (int h = 0; h < count; ++h) one(h);
    if (threads_ > 1) flush.resume();
    for (const std::exception_ptr& failure : failures_) {
      if (failure) std::rethrow_exception(failure);
    }
  }

  OutputBound bound_;
  int threads_;
  std::vector<Layer> heads_{};
  detail::Parameters<Scalar> out_;
  Vector reads_{}, d_reads_{}, output_{}, target_{}, d_output_{};
  Vector no_free_{};
  std::vector<std::exception_ptr> failures_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP
