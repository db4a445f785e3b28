// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_DETAIL_ERASED_ATTENTION_HPP
#define LOGLINEAR_MODE_DETAIL_ERASED_ATTENTION_HPP

// A layer of a given type behind the interface of layers chosen at run time.

#include <any>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/mode/attention_interface.hpp"

namespace loglinear::detail {

/// The layer type behind the interface.
template <class Layer>
class ErasedAttention final : public Attention<typename Layer::Scalar> {
 public:
  using Base = Attention<typename Layer::Scalar>;
  using typename Base::Matrix;
  using typename Base::MatrixView;
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
  MatrixView weight(std::string_view name) const override { return layer_.weight(name); }
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

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_ERASED_ATTENTION_HPP
