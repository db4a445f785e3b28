// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_BATCH_GRADIENT_HPP
#define LOGLINEAR_BATCH_BATCH_GRADIENT_HPP

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/batch/batch_chunkwise.hpp"
#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/detail/batch_heads.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"

namespace loglinear {

namespace detail {

/// Each array's gradient, to go with `for_each_array`.
template <class Scalar>
struct GradientMembers {
  using Gradients = SequenceGradients<Scalar>;
  using Member = typename Gradients::Matrix Gradients::*;
  Member q = &Gradients::q, k = &Gradients::k, v = &Gradients::v, lambda = &Gradients::lambda,
         g = &Gradients::g, g_value = &Gradients::g_value, beta = &Gradients::beta,
         u = &Gradients::u, p = &Gradients::p;
};

}  // namespace detail

/// The gradients of `sum(d_out * out)` with respect to every array and the initial states, as
/// `chunkwise_gradient` gives them for each head, to the bit. What several heads share has the sum
/// of theirs, taken in the order of the heads.
///
/// \param in         the arrays that `chunkwise` was given
/// \param tape       what it kept
/// \param d_out      the gradient with respect to the reads, [B, T, H, d_v]
/// \param gradients  where the gradients go; those that are absent are not written
/// \param d_states   if given: those with respect to the states after the tokens, of each head
///                   max_levels x d_k d_v, without rows for zero, or none at all; in the end those
///                   with respect to the states before them
/// \throws std::invalid_argument as `chunkwise` and for arrays that do not fit the tape, before
/// anything is changed; for a gradient that would not be finite, and nothing is changed then
///
/// About two and a half times `chunkwise`. All gradients are computed before the first is written:
/// memory for as many numbers again.
template <class Scalar>
void chunkwise_gradient(const BatchInputs<Scalar>& in, const BatchTape<Scalar>& tape,
                        const HeadArray<const std::type_identity_t<Scalar>>& d_out,
                        const BatchGradients<Scalar>& gradients,
                        std::vector<detail::RowMajorMatrix<Scalar>>* d_states = nullptr) {
  using Eigen::Index;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  const detail::BatchHeads<Scalar> heads(in);
  const auto count = static_cast<std::size_t>(heads.count());
  detail::require_reads("d_out", d_out, heads.shape());
  detail::require_size("the heads of the tape", static_cast<Index>(tape.heads.size()),
                       heads.count());
  if (d_states != nullptr && !d_states->empty()) {
    detail::require_size("d_states", static_cast<Index>(d_states->size()), heads.count());
  }
  detail::for_each_array(
      [&](const char* name, const HeadArray<const Scalar>& array, const HeadArray<Scalar>& to) {
        if (to.is_absent()) return;
        const std::string what = std::string("the gradient of ") + name;
        detail::require_sizes(what, to, heads.shape(), array.rows(), array.columns());
        detail::require_size(what + " (heads)", to.heads(), array.heads());
        detail::require_writable(what, to);
      },
      in, gradients);

  std::vector<SequenceGradients<Scalar>> all(count);
  heads.for_each([&](Index n) {
    const auto at = static_cast<std::size_t>(n);
    const Matrix none;
    const auto& d_final = d_states == nullptr || d_states->empty() ? none : (*d_states)[at];
    all[at] = chunkwise_gradient<Scalar>(
        heads[n], tape.heads[at], detail::sequence_rows<Scalar>(d_out, heads.rows(n)), d_final);
  });
  const detail::GradientMembers<Scalar> members{};
  detail::for_each_array(
      [&](const char*, const HeadArray<const Scalar>& array, const HeadArray<Scalar>& to,
          Matrix SequenceGradients<Scalar>::*member) {
        if (to.is_absent() || heads.shape().heads == 0) return;
        const Index each = array.rows() / heads.shape().tokens;
        const Index shared = heads.shape().heads / array.heads();
        detail::parallel_for<Scalar>(heads.count() / shared, thread_count(), [&](Index group) {
          Matrix& sum = all[static_cast<std::size_t>(group * shared)].*member;
          for (Index h = 1; h < shared; ++h) {
            const Matrix& other = all[static_cast<std::size_t>(group * shared + h)].*member;
            detail::add(sum.data(), other.data(), sum.size(), sum.data());
          }
          detail::put_rows(sum, to, heads.rows(group * shared, each));
        });
      },
      in, gradients, members);
  if (d_states == nullptr) return;
  std::vector<Matrix> initial(count);
  for (std::size_t n = 0; n < count; ++n) initial[n] = std::move(all[n].state);
  *d_states = std::move(initial);
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_GRADIENT_HPP
