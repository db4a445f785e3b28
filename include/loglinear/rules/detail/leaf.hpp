// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DETAIL_LEAF_HPP
#define LOGLINEAR_RULES_DETAIL_LEAF_HPP

// The leaf of rules that write one leaf a token, `a k v^T`, and its pullback.

#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear::detail {

/// token's leaf = k v^T
template <class Vec, class Kind>
void write_leaf(const Projections<Vec>& in, Token<Kind>& token) {
  copy(in.k.data(), in.k.size(), token.keys.data());
  copy(in.v.data(), in.v.size(), token.values.data());
}
/// token's leaf = scale k v^T
template <class Scalar, class Vec, class Kind>
void write_leaf(const Scalar& scale, const Projections<Vec>& in, Token<Kind>& token) {
  scale_to(scale, in.k.data(), in.k.size(), token.keys.data());
  copy(in.v.data(), in.v.size(), token.values.data());
}

/// The pullback of `write_leaf` to k and v.
template <class Kind, class Vec>
void pull_back_leaf(const Token<Kind>& d_token, Projections<Vec>& d_in) {
  copy(d_token.keys.data(), d_in.k.size(), d_in.k.data());
  copy(d_token.values.data(), d_in.v.size(), d_in.v.data());
}
template <class Scalar, class Kind, class Vec>
void pull_back_leaf(const Scalar& scale, const Token<Kind>& d_token, Projections<Vec>& d_in) {
  scale_to(scale, d_token.keys.data(), d_in.k.size(), d_in.k.data());
  copy(d_token.values.data(), d_in.v.size(), d_in.v.data());
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_RULES_DETAIL_LEAF_HPP
