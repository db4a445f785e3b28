// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_ATTENTION_HPP
#define LOGLINEAR_MODE_ATTENTION_HPP

/// \file
/// Attention chosen at run time, as a layer: `make_attention(config)`.
///
/// A call of `make_attention` compiles every rule in one state and in the hierarchy, 32 layers,
/// which takes half a minute; hence this header is not part of loglinear.hpp. A program with
/// several source files compiles it once: in each
///
///     extern template std::unique_ptr<loglinear::Attention<double>>
///     loglinear::make_attention<double>(const loglinear::AttentionConfig&);
///
/// and in one of them also the same without `extern`.

#include <any>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/mode/mode.hpp"

namespace loglinear {

/// Where a layer of this mode bounds its output unless told otherwise: a log-linear layer always,
/// HGRN2 and the rules that normalise their key in `forward` and `train_one`, the others nowhere.
[[nodiscard]] inline OutputBound output_bound_of(const AttentionMode& mode) {
  return std::visit(
      []<class Mode>(const Mode&) {
        if (std::is_same_v<Mode, LogLinear>) return OutputBound::always;
        const bool bounded = detail::normalizes_key<Mode>() || std::is_same_v<Mode, HGRN2>;
        return bounded ? OutputBound::forward : OutputBound::none;
      },
      mode);
}

/// A multi-head layer as a value.
struct AttentionConfig {
  Eigen::Index d_model = 16;                     ///< length of x and of the output, 1 to 2^26
  int n_heads = 4;                               ///< at least 1; n_heads d_value at most 2^26
  Eigen::Index d_key = 4;                        ///< length of a head's keys, 1 to 2^26
  Eigen::Index d_value = 4;                      ///< length of a head's values, 1 to 2^26
  AttentionMode mode = RetNet{};                 ///< the rule and what it is applied to
  std::uint64_t seed = 42;                       ///< of all weights, at least 1
  ReadOrder read_order = ReadOrder::after_push;  ///< what `forward` reads
  double learning_rate = 0.05;                   ///< of `train_one`, finite and >= 0
  std::optional<OutputBound> bound{};            ///< `output_bound_of(mode)` unless given
  int threads = 1;                               ///< at least 1; see `Attention::threads_used`

  /// \throws std::invalid_argument naming the first member that is out of its range
  void validate() const {
    detail::require_length("d_model", d_model);
    detail::require_positive("n_heads", n_heads);
    detail::require_length("d_key", d_key);
    detail::require_length("d_value", d_value);
    detail::require_length("n_heads * d_value", n_heads * d_value);
    detail::require_positive("threads", threads);
    loglinear::validate(mode);
  }
};

template <class Scalar>
class Attention;

namespace detail {
template <class Layer>
class ErasedAttention;
}

/// A moment of the stream of an `Attention`, as `StreamSnapshot`: a value that refers to no layer.
/// Made by `Attention::snapshot`.
class AttentionSnapshot {
 public:
  AttentionSnapshot() = default;  ///< holds nothing yet, and no layer can be restored to it

 private:
  template <class Layer>
  friend class detail::ErasedAttention;

  std::any moment_{};  // a MultiHeadAttention<Layer>::Snapshot
};

/// A layer whose mode was chosen at run time: `MultiHeadAttention` behind virtual functions, with
/// its guarantees. A call costs one indirection; a vector argument that is not an Eigen column
/// vector of the layer's own type is copied once more.
template <class Scalar_>
class Attention {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;

  /// Memory for `query` const: one for each thread, from `make_workspace`.
  class Workspace {
   private:
    friend class Attention;
    template <class Layer>
    friend class detail::ErasedAttention;

    Vector x_;         // where x is copied to, unless it is a Vector
    std::any memory_;  // a MultiHeadAttention<Layer>::Workspace
  };

  virtual ~Attention() = default;
  Attention& operator=(const Attention&) = delete;

  /// \name A token
  /// What is returned is the layer's own output, length d_model, overwritten by the next call.
  /// None of these allocates. Errors as in `LogLinearAttention`: std::invalid_argument before
  /// anything has changed.
  /// \{

  /// All heads read and write. \param x any Eigen vector of length d_model, finite
  template <class In>
  const Vector& forward(const In& x) {
    return do_forward(as_vector(x, "x", x_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = forward(x);
  }
  /// All heads read the state as it stands; nothing changes.
  template <class In>
  const Vector& query(const In& x) {
    return do_query(as_vector(x, "x", x_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void query(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = query(x);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each. \return the
  /// output, which lies in the workspace. \throws std::invalid_argument also for a workspace of a
  /// layer of another kind or shape
  template <class In>
  const Vector& query(const In& x, Workspace& workspace) const {
    detail::require_size("the workspace's x", workspace.x_.size(), output_dim());
    return do_query(as_vector(x, "x", workspace.x_), workspace);
  }
  /// Memory for it; allocates.
  [[nodiscard]] virtual Workspace make_workspace() const = 0;
  /// One step of gradient descent on `1/2 |o - y|^2` and one token of the stream. \param y target,
  /// length d_model, finite \return the output o from before the step
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    return do_train_one(as_vector(x, "x", x_), as_vector(y, "y", y_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = train_one(x, y);
  }
  /// Empties all states; weights stay.
  virtual void reset() noexcept = 0;
  /// Jumps to a later count, as `LogLinearAttention::advance_to`. \throws std::invalid_argument
  /// unless count >= size(); nothing is changed then
  virtual void advance_to(std::uint64_t count) = 0;

  /// This moment of the stream; allocates.
  [[nodiscard]] AttentionSnapshot snapshot() const {
    AttentionSnapshot moment;
    snapshot(moment);
    return moment;
  }
  /// The same into a snapshot that exists. Does not allocate where that is one of this layer and
  /// has grown to size; where it does and throws std::bad_alloc, the snapshot is what it was.
  virtual void snapshot(AttentionSnapshot& moment) const = 0;
  /// Goes back, or on, to a moment of this stream or of that of another layer, as
  /// `MultiHeadAttention::restore`: hyperparameters and weights are no part of it and stay. Does
  /// not allocate. \throws std::invalid_argument for a snapshot of another shape or kind of
  /// transition, or one that holds nothing; nothing is changed then
  virtual void restore(const AttentionSnapshot& moment) = 0;
  /// \}

  /// \name Shape and state
  /// \{

  /// What the layer was made from.
  [[nodiscard]] const AttentionConfig& config() const noexcept { return config_; }
  [[nodiscard]] Index output_dim() const noexcept { return config_.d_model; }  ///< d_model
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;               ///< tokens so far
  /// As `MultiHeadAttention::threads_used`.
  [[nodiscard]] virtual int threads_used() const noexcept = 0;
  /// The states of all heads one after the other, of constant length; allocates.
  [[nodiscard]] virtual Vector state() const = 0;
  /// The same layer with the same state and weights; allocates.
  [[nodiscard]] virtual std::unique_ptr<Attention> clone() const = 0;
  /// \}

  /// \name Weights and learning
  /// \{

  /// `head0.w_key`, ..., `w_out`, in the order in which they are drawn.
  [[nodiscard]] virtual std::vector<std::string> weight_names() const = 0;
  /// One weight array; a read-only view, valid as long as the layer. \throws std::invalid_argument
  /// for an unknown name
  [[nodiscard]] virtual detail::ConstMatrixView<Scalar> weight(std::string_view name) const = 0;
  /// Replaces one weight array; allocates. \throws std::invalid_argument for an unknown name,
  /// another shape or coefficients that are not finite
  virtual void set_weight(std::string_view name, const Eigen::Ref<const Matrix>& value) = 0;
  [[nodiscard]] virtual double learning_rate() const noexcept = 0;  ///< present
  /// \throws std::invalid_argument unless finite and >= 0
  virtual void set_learning_rate(double learning_rate) = 0;
  /// \}

 protected:
  explicit Attention(const AttentionConfig& config)
      : config_(config), x_(config.d_model), y_(config.d_model) {}
  Attention(const Attention&) = default;

 private:
  virtual const Vector& do_forward(const Vector& x) = 0;
  virtual const Vector& do_query(const Vector& x) = 0;
  virtual const Vector& do_query(const Vector& x, Workspace& workspace) const = 0;
  virtual const Vector& do_train_one(const Vector& x, const Vector& y) = 0;

  template <class Out>
  void require_output(const Eigen::MatrixBase<Out>& out) const {
    detail::require_vector_type<Scalar, Out>();
    detail::require_size("out", out.size(), output_dim());
  }

  /// The argument itself where it has the right type, else a copy of it.
  template <class In>
  static const Vector& as_vector(const In& in, const char* name, Vector& copy) {
    if constexpr (std::is_same_v<In, Vector>) {
      return in;
    } else {
      detail::load_vector(in, name, copy);
      return copy;
    }
  }

  AttentionConfig config_;
  Vector x_, y_;
};

namespace detail {

/// The layer type behind the interface.
template <class Layer>
class ErasedAttention final : public Attention<typename Layer::Scalar> {
 public:
  using Base = Attention<typename Layer::Scalar>;
  using typename Base::Matrix;
  using typename Base::Vector;
  using typename Base::Workspace;

  ErasedAttention(const AttentionConfig& config,
                  const typename MultiHeadAttention<Layer>::Options& options)
      : Base(config), layer_(options) {}

  void reset() noexcept override { layer_.reset(); }
  void advance_to(std::uint64_t count) override { layer_.advance_to(count); }
  using Base::snapshot;
  void snapshot(AttentionSnapshot& moment) const override {
    if (auto* own = std::any_cast<Moment>(&moment.moment_)) {
      layer_.snapshot(*own);
    } else {
      moment.moment_ = layer_.snapshot();
    }
  }
  void restore(const AttentionSnapshot& moment) override {
    const auto* own = std::any_cast<Moment>(&moment.moment_);
    if (own == nullptr) {
      fail("the snapshot", moment.moment_.has_value() ? "one of another kind of layer" : "empty",
           "one that was taken from a layer with the same kind of transition");
    }
    layer_.restore(*own);
  }
  Workspace make_workspace() const override {
    Workspace workspace;
    workspace.x_ = Vector::Zero(this->output_dim());
    workspace.memory_ = layer_.make_workspace();
    return workspace;
  }
  std::uint64_t size() const noexcept override { return layer_.size(); }
  int threads_used() const noexcept override { return layer_.threads_used(); }
  Vector state() const override { return layer_.state(); }
  std::unique_ptr<Base> clone() const override { return std::make_unique<ErasedAttention>(*this); }
  std::vector<std::string> weight_names() const override { return layer_.weight_names(); }
  ConstMatrixView<typename Layer::Scalar> weight(std::string_view name) const override {
    return layer_.weight(name);
  }
  void set_weight(std::string_view name, const Eigen::Ref<const Matrix>& value) override {
    layer_.set_weight(name, value);
  }
  double learning_rate() const noexcept override { return layer_.learning_rate(); }
  void set_learning_rate(double learning_rate) override { layer_.set_learning_rate(learning_rate); }
  MultiHeadAttention<Layer>& layer() noexcept { return layer_; }
  const MultiHeadAttention<Layer>& layer() const noexcept { return layer_; }

 private:
  using Moment = typename MultiHeadAttention<Layer>::Snapshot;

  const Vector& do_forward(const Vector& x) override { return layer_.forward(x); }
  const Vector& do_query(const Vector& x) override { return layer_.query_readonly(x); }
  const Vector& do_query(const Vector& x, Workspace& workspace) const override {
    auto* const own =
        std::any_cast<typename MultiHeadAttention<Layer>::Workspace>(&workspace.memory_);
    if (own == nullptr) {
      fail("the workspace",
           workspace.memory_.has_value() ? "one of another kind of layer" : "empty",
           "made by make_workspace of such a layer");
    }
    return layer_.query_readonly(x, *own);
  }
  const Vector& do_train_one(const Vector& x, const Vector& y) override {
    return layer_.train_one(x, y);
  }

  MultiHeadAttention<Layer> layer_;
};

/// A layer of one type, with the options that all types share taken from the config.
template <class Layer, class Scalar>
[[nodiscard]] std::unique_ptr<Attention<Scalar>> make_erased(
    const AttentionConfig& config, typename MultiHeadAttention<Layer>::Options options) {
  options.d_model = config.d_model;
  options.d_k = config.d_key;
  options.d_v = config.d_value;
  options.n_heads = config.n_heads;
  options.read_order = config.read_order;
  options.learning_rate = config.learning_rate;
  options.seed = config.seed;
  options.bound = config.bound.value_or(output_bound_of(config.mode));
  options.threads = config.threads;
  return std::make_unique<ErasedAttention<Layer>>(config, options);
}

/// Calls `work.template operator()<Layer>(options)` with the layer type that a mode stands for and
/// the options that come from the mode alone, and returns what it returns.
template <class Scalar, class Work>
auto with_layer_type(const AttentionMode& mode, const Work& work) {
  using Result = decltype(work.template operator()<LinearAttention<RetNet, Scalar>>({}));
  if (const auto* log_linear = std::get_if<LogLinear>(&mode)) {
    const auto with_rule = [&](const auto& rule) {
      using Layer = LogLinearAttention<std::decay_t<decltype(rule)>, Scalar>;
      return work.template operator()<Layer>(
          {.inner = rule,
           .max_levels = log_linear->max_levels,
           .level_weights = {.lambda_init = log_linear->lambda_init}});
    };
    return log_linear->key_only ? visit_key_only(log_linear->inner, with_rule)
                                : visit_rule(log_linear->inner, with_rule);
  }
  return std::visit(
      [&]<class Mode>(const Mode& one_state) -> Result {
        if constexpr (!std::is_same_v<Mode, LogLinear>) {
          return visit_rule(one_state, [&](const auto& rule) {
            using Layer = LinearAttention<std::decay_t<decltype(rule)>, Scalar>;
            return work.template operator()<Layer>({.inner = rule});
          });
        }
        return Result();  // a LogLinear has been dealt with above
      },
      mode);
}

}  // namespace detail

/// The layer that a config describes: `MultiHeadAttention<LinearAttention<Rule, Scalar>>`, or
/// `MultiHeadAttention<LogLinearAttention<Rule, Scalar>>` for `LogLinear`, behind the interface;
/// outputs, states and weights are the same bits. \throws std::invalid_argument for a config that
/// is not valid
///
///     auto layer = make_attention<float>({.d_model = 8, .mode = parse_mode("log_linear(gla)")});
///     const Eigen::VectorXf& output = layer->forward(x);
template <class Scalar = double>
[[nodiscard]] std::unique_ptr<Attention<Scalar>> make_attention(const AttentionConfig& config) {
  config.validate();
  return detail::with_layer_type<Scalar>(
      config.mode, [&]<class Layer>(const typename MultiHeadAttention<Layer>::Options& options) {
        return detail::make_erased<Layer, Scalar>(config, options);
      });
}

/// Calls `work(layer)` with the `MultiHeadAttention` behind the interface, for what that offers and
/// the interface does not, such as whole blocks of tokens. `work` is compiled for every layer type,
/// 32 of them.
///
///     visit_layer(*attention, [&](auto& layer) { outputs = layer.forward_block(x); });
template <class Scalar, class Work>
void visit_layer(Attention<Scalar>& attention, Work work) {
  detail::with_layer_type<Scalar>(
      attention.config().mode,
      [&]<class Layer>(const typename MultiHeadAttention<Layer>::Options&) {
        work(static_cast<detail::ErasedAttention<Layer>&>(attention).layer());
      });
}
/// The same, read-only.
template <class Scalar, class Work>
void visit_layer(const Attention<Scalar>& attention, Work work) {
  detail::with_layer_type<Scalar>(
      attention.config().mode,
      [&]<class Layer>(const typename MultiHeadAttention<Layer>::Options&) {
        work(static_cast<const detail::ErasedAttention<Layer>&>(attention).layer());
      });
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ATTENTION_HPP
