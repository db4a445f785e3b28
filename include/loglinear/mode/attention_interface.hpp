// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_ATTENTION_INTERFACE_HPP
#define LOGLINEAR_MODE_ATTENTION_INTERFACE_HPP

/// \file
/// What a layer whose mode was chosen at run time can do.

#include <any>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/mode/attention_config.hpp"

namespace loglinear {

template <class Scalar>
class Attention;

namespace detail {
template <class Layer>
class ErasedAttention;
}

/// A moment of the stream of an `Attention`, made by `Attention::snapshot`: a value that refers to
/// no layer, as `StreamSnapshot`.
class AttentionSnapshot {
 public:
  AttentionSnapshot() = default;  ///< holds nothing yet, and no layer can be restored to it

 private:
  template <class Layer>
  friend class detail::ErasedAttention;

  std::any moment_{};  // a MultiHeadAttention<Layer>::Snapshot
};

/// A layer whose mode was chosen at run time: `MultiHeadAttention` behind virtual functions, with
/// its guarantees. A call costs one indirection. A vector argument is copied once more unless it is
/// an Eigen column vector of the layer's own type.
template <class Scalar_>
class Attention {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;               ///< a weight array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< the same where it lies

  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
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
  /// These functions return the layer's own output, length d_model, which the next call overwrites.
  /// They do not allocate, except to start threads and for an executor. Errors as in
  /// `LogLinearAttention`: std::invalid_argument before anything has changed.
  /// \{

  /// All heads read and write. \param x any Eigen vector, std::vector, std::array or std::span of
  /// length d_model, finite
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
  const Vector& query_readonly(const In& x) {
    return do_query(as_vector(x, "x", x_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each. \return the
  /// output, which lies in the workspace. \throws std::invalid_argument also for a workspace of a
  /// layer of another kind or shape
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    detail::require_size("the workspace's x", workspace.x_.size(), output_dim());
    return do_query(as_vector(x, "x", workspace.x_), workspace);
  }
  /// Memory for it; allocates.
  [[nodiscard]] virtual Workspace make_workspace() const = 0;
  /// Learns from one token and writes it, as `MultiHeadAttention::train_one`.
  /// \param y  target, length d_model, finite
  /// \return the output o from before the step
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
  /// Writes this moment to a snapshot that exists. Does not allocate if that is one of this layer
  /// and has grown to size. Where it throws std::bad_alloc, the snapshot is what it was.
  virtual void snapshot(AttentionSnapshot& moment) const = 0;
  /// Goes to another moment of this stream, or of another layer's, as
  /// `MultiHeadAttention::restore`. Hyperparameters and weights stay. Does not allocate.
  /// \throws std::invalid_argument for a snapshot of another shape or kind of transition, or one
  /// that holds nothing; nothing is changed then
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
  [[nodiscard]] virtual MatrixView weight(std::string_view name) const = 0;
  /// Replaces one weight array; allocates. \throws std::invalid_argument for an unknown name,
  /// another shape or coefficients that are not finite
  virtual void set_weight(std::string_view name, const Eigen::Ref<const Matrix>& value) = 0;
  [[nodiscard]] virtual double learning_rate() const noexcept = 0;  ///< of all heads and W_out
  /// Sets the learning rate of all heads and of W_out. \throws std::invalid_argument unless finite
  /// and >= 0
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

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ATTENTION_INTERFACE_HPP
