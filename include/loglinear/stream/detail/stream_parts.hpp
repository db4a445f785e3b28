// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP

// Jumps of a stream's count, and streams made of parts, in the form in which layers keep them.
//
// Levels are moved with nothing pending: what they had to undergo depends on their tier. The buffer
// of newest leaves stands for the tokens since the last multiple of its capacity: a jump past the
// next one carries it into the levels, and a shorter one appends leaves of zeros. Where parts are
// joined, each gives the leaves of its own tokens to the buffer.

#include <cstdint>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/stream_state.hpp"

namespace loglinear::detail {

struct StreamParts {
  /// The state after tokens up to `count` that write nothing and have no transition.
  template <class Stream>
  static void advance(Stream& stream, std::uint64_t count) {
    if (count < stream.size()) fail("the count to advance to", count, "at least size()");
    const int b = stream.buffer().level();
    if ((count >> b) != (stream.size() >> b)) {
      stream.tiers().settle_anew(stream.levels());
      if (stream.buffer().count() > 0) stream.carry_buffer();
      stream.levels().advance_to(count >> b << b);
    }
    stream.buffer().append_zeros(static_cast<Index>(count - stream.size()));
  }

  /// `earlier` becomes the stream of which `later` is the rest: a stream that began empty at the
  /// count of `earlier` and whose transitions multiply to `product`. Throws where something is not
  /// finite or too large, before anything has changed. Copies both, allocates.
  template <class Stream, class Product>
  static void append(Stream& earlier, const Stream& later, const Product& product) {
    require_size("max_levels of the later part", later.max_levels(), earlier.max_levels());
    require_size("d_k of the later part", later.key_rows(), earlier.key_rows());
    require_size("d_v of the later part", later.d_v(), earlier.d_v());
    require_size("the leaves of a token of the later part", later.shape().leaves,
                 earlier.shape().leaves);
    if (!product.fits(earlier.key_rows(), earlier.d_v())) {
      fail("the product of the later part", "of another shape", "made for this layer's states");
    }
    Stream whole(earlier), rest(later);
    whole.tiers().settle_anew(whole.levels());
    rest.tiers().settle(rest.levels());
    undergo(whole, product);
    const int b = whole.buffer().level();
    const bool carries = (rest.size() >> b) != (whole.size() >> b);
    const Index own = carries ? 0 : whole.buffer().leaf_count();
    advance(whole, rest.size());
    const Index level_size = whole.levels().level_size();
    for (int l : rest.levels().active_levels()) {
      require_finite("coefficient # of the merged state", whole.levels().data(l), level_size);
    }
    whole.levels().add(rest.levels());
    whole.buffer().replace_from(own, rest.buffer());
    whole.buffer().require_finite_leaves(own);
    const double magnitude = whole.measured(true);
    if (!is_at_most(magnitude, magnitude_limit<typename Stream::Levels::Scalar>())) {
      fail("the magnitude of the merged state", magnitude, "within the range of the scalar type");
    }
    whole.levels().defer(magnitude);
    earlier = std::move(whole);
  }

 private:
  /// Everything in a stream that has nothing pending undergoes a product of transitions; allocates.
  template <class Stream, class Product>
  static void undergo(Stream& stream, const Product& product) {
    Vector<typename Stream::Scalar> scratch(product.scratch_size(stream.key_rows()));
    for (int l : stream.levels().active_levels()) {
      stream.levels().undergo(l, product, scratch.data());
    }
    stream.buffer().undergo_product(product);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP
