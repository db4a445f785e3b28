// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STREAMING_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAMING_HPP

// What a head asks of its stream but for reads, which are in reading.hpp and reading_apart.hpp. As
// functions of their own these can be compiled once (stream/instantiations.hpp). A program that
// calls them does not compile what they do with the levels, the buffer and the pending tiers.

#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/admitted.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

/// An empty stream of tokens with so many leaves.
template <class Stream>
[[nodiscard]] Stream make_stream(int max_levels, Index key_rows, Index d_v, Index leaves) {
  return Stream(max_levels, key_rows, d_v, leaves);
}

/// Throws where the token may not be written; nothing is changed. `write_token` takes the result.
template <class Stream, class Kind>
[[nodiscard]] Admitted admit_token(const Stream& stream, const Token<Kind>& token) {
  return stream.admit(token);
}

/// Writes a token that the stream has admitted, and for which a read has found `looked_up`.
template <class Stream, class Kind>
void write_token(Stream& stream, const Token<Kind>& token, const Admitted& admitted,
                 const LookUp<Kind>& looked_up) {
  stream.write(token, admitted, looked_up);
}

/// All levels undergo what is pending for them.
template <class Stream>
void settle_stream(Stream& stream) {
  static_cast<void>(stream.settled_levels());
}

/// out = the levels as if every token had been pushed; of the same shape.
template <class Stream, class Levels>
void copy_plain(const Stream& stream, Levels& out) {
  stream.copy_to(out);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAMING_HPP
