// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_DETAIL_BATCH_CHECKS_HPP
#define LOGLINEAR_BATCH_DETAIL_BATCH_CHECKS_HPP

// What is refused before any work: arrays whose sizes, strides or cuts do not fit together.

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/detail/footprint.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/sequence/detail/arrays.hpp"
#include "loglinear/sequence/packed.hpp"

namespace loglinear::detail {

/// The sizes that all arrays of a batch have in common.
struct BatchShape {
  Index batch = 0, tokens = 0, heads = 0, d_k = 0, d_v = 0;
  Index leaves = 1, updates = 0;  // rows a token of k and v, and of u and p
  Index sequences = 0;
  bool is_packed = false;
};

/// Throws unless every place of an array, and how many numbers there are, is an Index in bytes.
template <class Number>
void require_memory(const std::string& name, const HeadArray<Number>& array) {
  const char* const dimensions[] = {"batch", "rows", "heads", "columns"};
  for (std::size_t i = 0; i < 4; ++i) {
    if (array.sizes()[i] >= 0) continue;
    fail("the size of " + name + " (" + dimensions[i] + ")", array.sizes()[i], "at least 0");
  }
  constexpr Index most = (std::numeric_limits<Index>::max)() / Index{4 * sizeof(Number)};
  Index product = 1;
  for (std::size_t i = 0; i < 4; ++i) {
    const Index size = (std::max)(Index{1}, array.sizes()[i]), stride = array.strides()[i];
    if (size > most / product) {
      fail("the size of " + name + " (" + dimensions[i] + ")", size, "at most ", most / product,
           " with the other sizes that it has");
    }
    product *= size;
    const Index furthest = most / (std::max)(Index{1}, size - 1);
    if (size == 1 || (stride >= -furthest && stride <= furthest)) continue;
    fail("the stride of " + name + " (" + dimensions[i] + ")", stride, "between ", -furthest,
         " and ", furthest);
  }
  if (array.size() > 0 && array.data() == nullptr) {
    fail("the pointer of " + name, "null", "to its numbers");
  }
}

/// Throws unless no two numbers of an array that is written to share memory; after
/// `require_memory`.
template <class Scalar>
void require_writable(const std::string& name, const HeadArray<Scalar>& array) {
  if (array.size() == 0) return;
  std::array<std::pair<Index, Index>, 4> steps;  // by how far, and how often
  for (std::size_t i = 0; i < 4; ++i) steps[i] = {array.strides()[i], array.sizes()[i]};
  std::sort(steps.begin(), steps.end());
  Index reach = 1;
  for (const auto& [stride, size] : steps) {
    if (size <= 1) continue;
    if (stride < reach) {
      fail("a stride of " + name, stride, "such that no two numbers share memory, at least ",
           reach);
    }
    reach = stride * (size - 1) + reach;
  }
}

template <class Number>
void require_sizes(const std::string& name, const HeadArray<Number>& array, const BatchShape& shape,
                   Index rows, Index columns) {
  require_memory(name, array);
  require_size(name + " (batch)", array.batch(), shape.batch);
  require_size(name + " (rows)", array.rows(), rows);
  require_size(name + " (columns)", array.columns(), columns);
  if (array.heads() == shape.heads) return;
  if (array.heads() > 0 && shape.heads % array.heads() == 0) return;
  fail(name + " (heads)", array.heads(),
       "a divisor of " + std::to_string(shape.heads) + ", the largest number of heads of an array");
}

/// Rows a token.
template <class Number>
[[nodiscard]] Index rows_a_token(const std::string& name, const HeadArray<Number>& array,
                                 Index tokens) {
  if (tokens == 0) return 1;
  if (array.rows() > 0 && array.rows() % tokens == 0) return array.rows() / tokens;
  fail(name + " (rows)", array.rows(),
       "a multiple of the number of tokens, " + std::to_string(tokens));
}

/// Throws unless everything fits together; says what they have in common.
template <class Scalar>
[[nodiscard]] BatchShape checked_shape(const BatchInputs<Scalar>& in) {
  BatchShape shape;
  for_each_array(
      [&](const char* name, const HeadArray<const Scalar>& array) {
        require_memory(name, array);
        if (!array.is_absent()) shape.heads = (std::max)(shape.heads, array.heads());
      },
      in);
  shape.batch = in.q.batch();
  shape.tokens = in.q.rows();
  if (shape.batch == 0 || shape.tokens == 0) {
    shape.heads = (std::max)({in.q.heads(), in.k.heads(), in.v.heads()});
  }
  if (shape.heads > 0) {
    require_length("d_k (columns of q)", in.q.columns());
    require_length("d_v (columns of v)", in.v.columns());
  }
  shape.d_k = in.q.columns();
  shape.d_v = in.v.columns();
  shape.leaves = rows_a_token("k", in.k, shape.tokens);
  require_sizes("q", in.q, shape, shape.tokens, shape.d_k);
  require_sizes("k", in.k, shape, shape.tokens * shape.leaves, shape.d_k);
  require_sizes("v", in.v, shape, shape.tokens * shape.leaves, shape.d_v);
  if (!in.lambda.is_absent()) {
    require_sizes("lambda", in.lambda, shape, shape.tokens, in.lambda.columns());
  }
  if (!in.g.is_absent()) {
    require_sizes("g", in.g, shape, shape.tokens, in.g.columns() == 1 ? 1 : shape.d_k);
  }
  if (!in.g_value.is_absent()) require_sizes("g_value", in.g_value, shape, shape.tokens, shape.d_v);
  if (!in.beta.is_absent()) {
    require_sizes("beta", in.beta, shape, shape.tokens * shape.leaves, 1);
    require_size("u and p, with beta given,", in.u.size() + in.p.size(), 0);
  }
  if (!in.u.is_absent() || !in.p.is_absent()) {
    shape.updates = rows_a_token("u", in.u, shape.tokens);
    require_sizes("u", in.u, shape, shape.tokens * shape.updates, shape.d_k);
    require_sizes("p", in.p, shape, shape.tokens * shape.updates, shape.d_k);
  }
  shape.is_packed = !in.cu_seqlens.empty();
  shape.sequences = shape.batch;
  if (shape.is_packed) {
    require_size("the batch, with cu_seqlens given,", shape.batch, 1);
    shape.sequences = static_cast<Index>(in.cu_seqlens.size()) - 1;
    require_cuts(in.cu_seqlens, shape.tokens, in.cu_seqlens.size() - 1);
  }
  return shape;
}

/// Throws unless reads can be written to `out` while other heads are read.
template <class Scalar>
void require_target(const HeadArray<Scalar>& out, const BatchInputs<Scalar>& in) {
  require_writable("out", out);
  for_each_array(
      [&](const char* name, const HeadArray<const Scalar>& array) {
        if (overlap(out, array)) fail("the memory of out", Text("shared with ", name), "its own");
      },
      in);
}

/// Throws unless `out` can take the reads of all heads.
template <class Scalar>
void require_reads(const std::string& name, const HeadArray<Scalar>& out, const BatchShape& shape) {
  require_sizes(name, out, shape, shape.tokens, shape.d_v);
  require_size(name + " (heads)", out.heads(), shape.heads);
}

/// Throws unless there is a state for each head, all of the heads' shape, and level weights for
/// what the tokens see of it.
template <class Scalar>
void require_states(const BatchStates<Scalar>& states, const BatchInputs<Scalar>& in,
                    const BatchShape& shape) {
  require_size("the number of states", static_cast<Index>(states.size()),
               shape.sequences * shape.heads);
  for (std::size_t n = 0; n < states.size(); ++n) {
    const std::string which = " of state " + std::to_string(n);
    require_size("d_k" + which, states[n].d_k(), shape.d_k);
    require_size("d_v" + which, states[n].d_v(), shape.d_v);
    if (in.lambda.is_absent() && shape.tokens > 0) {
      require_size("max_levels" + which + ", without lambda,", states[n].max_levels(), 1);
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_BATCH_CHECKS_HPP
