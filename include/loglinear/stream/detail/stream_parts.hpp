// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP

// Jumps of a stream's count, and streams made of parts, in the form in which layers keep them.
//
// Levels are moved with nothing pending: what they had to undergo depends on their tier. The buffer
// of newest leaves stands for the tokens since the last multiple of its capacity: a jump past the
// next one carries it into the levels, a shorter one appends leaves of zeros, and parts have theirs
// side by side.

#include <cstdint>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/stream_state.hpp"

namespace loglinear::detail {

/// A friend of StreamState.
struct StreamParts {
  /// The state after tokens up to `count` that write nothing and have no transition.
  template <class Stream>
  static void advance(Stream& stream, std::uint64_t count) {
    if (count < stream.size()) fail("the count to advance to", count, "at least size()");
    const int b = stream.buffer_level_;
    if ((count >> b) != (stream.size() >> b)) {
      static_cast<void>(stream.settled_levels());
      if (stream.buffered_ > 0) {
        stream.sum_up_buffer();
        stream.levels_.carry_bucket(b, stream.bucket_.data());
        stream.buffered_ = 0;
      }
      stream.growth_ = 1;
      stream.levels_.advance_to(count >> b << b);
    }
    const auto more = static_cast<Index>(count - stream.size());
    const Index first = stream.buffered_ * stream.leaves_, n = more * stream.leaves_;
    stream.keys_.middleRows(first, n).setZero();
    stream.values_.middleRows(first, n).setZero();
    if (stream.factors_.size() > 0) stream.factors_.segment(first, n).setOnes();
    stream.buffered_ += more;
  }

  /// `earlier` becomes the stream of which `later` is the rest: a stream that began empty at the
  /// count of `earlier` and whose transitions multiply to `product`. Throws where something is not
  /// finite or too large, before anything has changed. Copies both, allocates.
  template <class Stream, class Product>
  static void append(Stream& earlier, const Stream& later, const Product& product) {
    require_size("max_levels of the later part", later.max_levels(), earlier.max_levels());
    require_size("d_k of the later part", later.key_rows(), earlier.key_rows());
    require_size("d_v of the later part", later.d_v(), earlier.d_v());
    if (!product.fits(earlier.key_rows(), earlier.d_v())) {
      fail("the product of the later part", "of another shape", "made for this layer's states");
    }
    Stream whole(earlier), rest(later);
    static_cast<void>(whole.settled_levels());
    static_cast<void>(rest.settled_levels());
    undergo(whole, product);
    const int b = whole.buffer_level_;
    const bool carries = (rest.size() >> b) != (whole.size() >> b);
    const Index own = carries ? 0 : whole.buffered_ * whole.leaves_;
    advance(whole, rest.size());
    for (int l : rest.levels_.active_levels())
      require_finite("a coefficient of the merged state", whole.levels_.level(l));
    whole.levels_.add(rest.levels_);
    const Index n = whole.buffered_ * whole.leaves_ - own;
    whole.keys_.middleRows(own, n) = rest.keys_.middleRows(own, n);
    whole.values_.middleRows(own, n) = rest.values_.middleRows(own, n);
    if (n > 0 && whole.factors_.size() > 0) {
      whole.factors_.segment(own, n) = rest.factors_.segment(own, n);
    }
    whole.growth_ = 1;
    for (Index j = 0; j < own; ++j) {
      require_finite("a buffered key", whole.keys_.row(j));
      require_finite("a buffered value", whole.values_.row(j));
    }
    const double magnitude = whole.measured(true);
    if (!is_at_most(magnitude, magnitude_limit<typename Stream::Levels::Scalar>())) {
      fail("the magnitude of the merged state", magnitude, "within the range of the scalar type");
    }
    whole.levels_.defer(magnitude);
    earlier = std::move(whole);
  }

 private:
  /// Everything in a stream that has nothing pending undergoes a product of transitions.
  template <class Stream, class Product>
  static void undergo(Stream& stream, const Product& product) {
    using Scalar = typename Stream::Scalar;
    for (int l : stream.levels_.active_levels()) {
      stream.levels_.undergo(l, product, stream.scratch_);
    }
    const Index n = stream.buffered_ * stream.leaves_;
    if constexpr (requires { product.factor(); }) {
      if constexpr (Stream::has_factors) stream.factors_.head(n) *= product.factor();
    } else {
      Vector<Scalar> key(stream.key_rows()), scratch(stream.key_rows());
      for (Index j = 0; j < n; ++j) {
        key = stream.keys_.row(j).transpose();
        product.push(key, scratch);
        stream.keys_.row(j) = key.transpose();
        product.right(stream.values_.row(j));
      }
    }
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP
