// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_STREAM_PART_HPP
#define LOGLINEAR_STREAM_STREAM_PART_HPP

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/detail/base/alive.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/pending_product.hpp"

namespace loglinear {

template <class Layer>
class MultiHeadAttention;

/// How large the product of a part's transitions may be.
enum class PartProduct {
  compact,  ///< at most a vector: for diagonal transitions, whose products are diagonal
  matrix,   ///< for any transition; a key_rows x key_rows matrix if it is not diagonal
};

/// A part of a stream that is computed without the tokens before it and appended later. Use it to
/// compute a long prompt in parts, on several threads or machines, or to append one part to several
/// streams.
///
/// The state after the part is linear in the state before it, `S -> P S diag(r) + own`, where P and
/// r are the products of the part's transitions. So the part starts at its absolute count with
/// empty levels and computes P and r as well. To append it, each earlier level undergoes P and r
/// and then falls whole into the level that holds its tokens at the end. Appending is exact for
/// every pair of counts, also past the last level: the state is that of one stream up to the
/// rounding of sums, and bit for bit where no sum is rounded differently.
///
/// A token costs what `forward` costs, and its factor of the product: O(1), O(key_rows) or O(d_v)
/// where transitions are diagonal. All others, the delta rules, need `PartProduct::matrix`:
/// key_rows^2 numbers and O(key_rows^2) operations a token.
///
/// \tparam Layer_   `LogLinearAttention<...>`, `LinearAttention<...>` or `MultiHeadAttention<...>`
/// \tparam product  the largest product that may be kept
template <class Layer_, PartProduct product = PartProduct::compact>
class StreamPart {
  using Kind = typename Layer_::Head::Kind;
  using Flush = detail::FlushToZero<typename Layer_::Scalar>;
  static_assert(HasOwnProducts<Kind> || product == PartProduct::matrix,
                "the transitions of this rule multiply to a d_k x d_k matrix, which a part of a "
                "stream must carry along: say so by StreamPart<Layer, PartProduct::matrix>");

 public:
  using Layer = Layer_;

  /// An empty part that begins after `first` tokens, with the weights and options of `layer`; the
  /// layer's own stream does not matter. Copies the layer; allocates.
  StreamPart(Layer layer, std::uint64_t first)
      : layer_(std::move(layer)), product_(layer_.key_rows(), layer_.output_dim()), first_(first) {
    layer_.reset();
    layer_.advance_to(first);
  }

  StreamPart(const StreamPart&) = default;  ///< allocates
  StreamPart(StreamPart&&) = default;       ///< leaves one that refuses use until it is assigned to
  StreamPart& operator=(const StreamPart& other) { return *this = StreamPart(other); }  ///< a copy
  StreamPart& operator=(StreamPart&&) = default;  ///< as the constructor

  /// Takes the next token. There is no output, which would depend on the tokens before the part.
  /// Does not allocate.
  /// \param x  length d_model
  /// \throws std::invalid_argument as `forward`; nothing is changed then
  template <class In>
  void write(const In& x) {
    const Flush flush;
    stage(x);
    commit();
  }

  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }  ///< tokens before the part
  [[nodiscard]] std::uint64_t size() const noexcept {
    return layer_.size();
  }  ///< tokens before it and in it

  /// Appends the part that follows this one. Allocates.
  /// \throws std::invalid_argument unless `later` begins where this one ends, for another shape, or
  /// where numbers get out of range; nothing is changed then
  void append(const StreamPart& later) {
    const Flush flush;
    detail::Vector<typename Kind::Scalar> scratch(product_.scratch_size(layer_.key_rows()));
    later.append_to(layer_);
    product_.follow(later.product_, scratch.data());
  }

  /// Appends the part to a stream that has taken exactly the tokens before it; `stream` has then
  /// taken those of the part too. Allocates.
  /// \throws std::invalid_argument unless `stream.size() == first()`, for another shape, or where
  /// numbers get out of range; nothing is changed then
  void append_to(Layer& stream) const {
    if (stream.size() != first_) {
      detail::fail("the first token of the part to append", first_,
                   std::to_string(stream.size()) + ", where the stream ends");
    }
    const Flush flush;
    stream.as_head().append(layer_.as_head(), product_);
  }

  /// \name `write` in two halves, for several heads
  /// \{

  /// Checks the next token and prepares what `commit` writes; the stream does not change.
  template <class In>
  void stage(const In& x) {
    const Flush flush;
    layer_.as_head().stage(x, ReadOrder::before_push);
  }
  /// Writes what was staged.
  void commit() {
    const Flush flush;
    layer_.as_head().commit();
    product_.follow(layer_.as_head().workspace().token.transition);
  }
  /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints and for other processes.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("first", self.first_);
    part("stream", self.layer_);
    part("product", self.product_);
  }

  Layer layer_;
  detail::PendingProduct<Kind> product_;
  std::uint64_t first_;
};

/// A part of the stream of several heads: one part of each head, which are written and appended
/// together. Members as above; what throws for one head changes none of them.
template <class Head, PartProduct product>
class StreamPart<MultiHeadAttention<Head>, product> {
 public:
  using Layer = MultiHeadAttention<Head>;

  /// As above. Copies only the heads of the layer.
  StreamPart(const Layer& layer, std::uint64_t first) {
    for (int h = 0; h < layer.n_heads(); ++h) heads_.emplace_back(layer.head(h), first);
  }

  /// Takes the next token, with every head.
  /// \param x  length d_model
  /// \throws std::invalid_argument as `forward`; no head is changed then
  template <class In>
  void write(const In& x) {
    require_alive();
    for (auto& head : heads_) head.stage(x);
    for (auto& head : heads_) head.commit();
  }

  [[nodiscard]] std::uint64_t first() const noexcept {
    return heads_.empty() ? 0 : front().first();
  }  ///< tokens before the part
  [[nodiscard]] std::uint64_t size() const noexcept {
    return heads_.empty() ? 0 : front().size();
  }  ///< tokens before it and in it

  /// Appends the part that follows this one.
  /// \throws std::invalid_argument as for one head, and for another number of heads
  void append(const StreamPart& later) {
    detail::require_size("the heads of the part to append",
                         static_cast<detail::Index>(later.heads_.size()),
                         static_cast<detail::Index>(heads_.size()));
    std::vector<StreamPart<Head, product>> whole(heads_);
    for (std::size_t h = 0; h < whole.size(); ++h) whole[h].append(later.heads_[h]);
    heads_.swap(whole);
  }

  /// Appends the part to a stream. \throws std::invalid_argument as for one head, and for another
  /// number of heads
  void append_to(Layer& stream) const {
    require_alive();
    stream.append(heads_);
  }

 private:
  friend struct detail::Parts;

  void require_alive() const {
    if (heads_.empty()) detail::fail_moved_from("the part");
  }
  [[nodiscard]] const StreamPart<Head, product>& front() const {
    require_alive();
    return heads_.front();
  }

  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    self.require_alive();
    int h = 0;
    for (auto& head : self.heads_) part("head" + std::to_string(h++), head);
  }

  std::vector<StreamPart<Head, product>> heads_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_STREAM_PART_HPP
