// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_HEAD_PARTS_HPP
#define LOGLINEAR_LAYER_DETAIL_HEAD_PARTS_HPP

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/alive.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/layer/detail/preparation.hpp"
#include "loglinear/layer/detail/stepper.hpp"
#include "loglinear/layer/detail/workspace.hpp"
#include "loglinear/layer/instantiations.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/stream/detail/stream_parts.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/detail/streaming.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "loglinear/stream/snapshot.hpp"

namespace loglinear::detail {

/// What a head has, and how that is replaced as a whole: the stream, the weights and how they
/// learn, the memory of the token in hand. `Head` says what becomes of a token. It has many
/// members: layers, parts of streams and checkpoints each ask for something else.
template <class Inner_, class Scalar_, class Weights_, class Stored, LastLevel Overflow>
class HeadParts {
  static_assert(std::is_same_v<Scalar_, Accumulator<Stored>>,
                "levels can be stored as the layer's scalar, or, where that is float, as "
                "Eigen::bfloat16 or Eigen::half");

 public:
  using Inner = Inner_;
  using Scalar = Scalar_;
  using Weights = Weights_;
  using Kind = typename Inner::template Transition<Scalar>;
  using Preparation = detail::Preparation<Inner, Scalar, Weights>;
  using Stream = StreamState<Kind, Stored, Overflow, has_one_state<Weights>()>;
  using State = LogLinearState<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, Overflow>;
  using Workspace = detail::Workspace<Kind>;
  using Snapshot = StreamSnapshot<Kind, Stored>;

  /// Allocates everything and draws the weights. \param options  of a layer, see
  /// `LogLinearAttention::Options`. \throws std::invalid_argument for one out of its range
  template <class Options>
  explicit HeadParts(const Options& options)
      : read_order_(options.read_order),
        weight_scale_(options.weight_scale),
        preparation_(options),
        stream_(make_stream<Stream>(options.max_levels, layout().key_rows, options.d_v,
                                    layout().leaves)),
        workspace_(make_workspace()),
        training_(make_training_workspace<Kind>(layout(), preparation_.weight_count(),
                                                stream_.read_shape())),
        stepper_(preparation_.parameters(), learning_of(options).step, learning_of(options).rate,
                 true) {
    // No normal number that is drawn reaches 10.
    require_between("weight_scale", weight_scale_, 0.0, magnitude_limit<Scalar>() / 10);
    Xorshift64 random(options.seed);
    draw_weights(random);
    preparation_.start_biases(workspace_);
  }

  /// \name The stream, weights and learning, see `LogLinearAttention`
  /// \{
  void reset() noexcept {
    drop_staged();
    stream_.reset();
  }
  void advance_to(std::uint64_t count) {
    require_alive();
    drop_staged();
    StreamParts::advance(stream_, count);
  }
  void restore(const Snapshot& moment) {
    require_alive();
    moment.restore(stream_);
    drop_staged();
  }
  /// Appends the stream of another head that began at this one's count, after `product` of its
  /// transitions; see `StreamPart`.
  template <class Product>
  void append(const HeadParts& later, const Product& product) {
    require_alive();
    drop_staged();
    StreamParts::append(stream_, later.stream(), product);
  }
  [[nodiscard]] const Stream& stream() const {
    require_alive();
    return stream_;
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return stream_.size(); }
  [[nodiscard]] int max_levels() const noexcept { return stream_.max_levels(); }
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    require_alive();
    preparation_.set_weight(name, value);
    stepper_.settle();
    drop_staged();
  }
  void draw_weights(Xorshift64& random) {
    drop_staged();
    preparation_.parameters().draw(random, weight_scale_);
    stepper_.reset();
  }
  void set_learning_rate(double learning_rate) {
    stepper_.set_rate(learning_rate);
    drop_staged();
  }
  [[nodiscard]] double learning_rate() const noexcept { return stepper_.rate(); }
  [[nodiscard]] const Step& step() const noexcept { return stepper_.step(); }
  void reset_train_step_count() noexcept { train_step_count_ = 0; }
  [[nodiscard]] std::uint64_t train_step_count() const noexcept { return train_step_count_; }
  /// \}

  /// \throws std::invalid_argument for a head that has been moved from
  void require_alive() const { alive_.require_alive("the layer"); }
  /// The rule, the policy of the level weights, the weights.
  [[nodiscard]] const Preparation& preparation() const noexcept { return preparation_; }
  [[nodiscard]] ReadOrder read_order() const noexcept { return read_order_; }
  [[nodiscard]] double weight_scale() const noexcept { return weight_scale_; }
  /// What training reads: `after_push`, or the head's order if that keeps the own leaf apart.
  [[nodiscard]] ReadOrder training_order() const noexcept {
    return info_of(read_order_).is_leaf_apart ? read_order_ : ReadOrder::after_push;
  }
  /// What became of the last token: its raw read, its level weights, its transition.
  [[nodiscard]] const Workspace& workspace() const noexcept { return workspace_; }
  [[nodiscard]] Workspace& workspace() noexcept { return workspace_; }

  [[nodiscard]] const Stepper<Scalar>& stepper() const noexcept { return stepper_; }

  /// Takes over the weights, what their steps remember, the stream and the counter of a head in
  /// another scalar.
  template <class Other>
  void assign(const Other& other) {
    weight_scale_ = other.weight_scale();
    preparation_.parameters() = other.preparation().parameters().template cast<Scalar>();
    stream_ = other.stream().template cast<Kind, Stored>();
    stepper_.assign(other.stepper());
    train_step_count_ = other.train_step_count();
  }

  /// Becomes `before` again, an earlier copy of this head, which it moves from. The weights stay
  /// where they are in memory.
  void put_back(HeadParts& before) noexcept {
    preparation_.parameters() = before.preparation_.parameters();
    stream_ = std::move(before.stream_);
    workspace_ = std::move(before.workspace_);
    stepper_ = std::move(before.stepper_);
    train_step_count_ = before.train_step_count_;
    drop_staged();
  }

  /// Memory for const queries; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    require_alive();
    return detail::make_workspace<Kind>(layout(), preparation_.parameters().d_model(),
                                        preparation_.weight_count(), stream_.read_shape());
  }

 protected:
  /// What has been read for the token in hand.
  enum class Staged { nothing, read, levels };

  void drop_staged() noexcept {
    staged_ = Staged::nothing;
    has_gradient_ = is_looked_at_ = false;
  }
  [[nodiscard]] const Layout& layout() const { return preparation_.layout(); }

  Alive alive_{};
  ReadOrder read_order_;
  double weight_scale_;
  Preparation preparation_;
  Stream stream_;
  Workspace workspace_;
  TrainingWorkspace<Kind> training_;
  Stepper<Scalar> stepper_;
  std::uint64_t train_step_count_ = 0;
  ReadOrder staged_order_ = ReadOrder::before_push;
  Admitted staged_write_{};
  Staged staged_ = Staged::nothing;
  bool has_gradient_ = false, is_looked_at_ = false;

 private:
  friend struct Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    std::conditional_t<std::is_const_v<Self>, const HeadParts, HeadParts>& own = self;
    own.require_alive();
    part("", own.preparation_.parameters());
    part("state", own.stream_);
    double rate = own.learning_rate();
    part("learning_rate", rate);
    part("train_step_count", own.train_step_count_);
    part("", own.stepper_);
    if constexpr (is_written<Self>) {
      own.drop_staged();
      own.set_learning_rate(rate);
    }
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_HEAD_PARTS_HPP
