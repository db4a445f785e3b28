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

/// Pointers to the members of `SequenceGradients`, for `for_each_array`.
template <class Scalar>
struct GradientMembers {
  using Gradients = SequenceGradients<Scalar>;
  using Member = typename Gradients::Matrix Gradients::*;
  Member q = &Gradients::q, k = &Gradients::k, v = &Gradients::v, lambda = &Gradients::lambda,
         g = &Gradients::g, g_value = &Gradients::g_value, beta = &Gradients::beta,
         u = &Gradients::u, p = &Gradients::p;
};

/// Throws unless a head's gradient with respect to its state after the tokens is absent, or finite
/// and of the state's shape.
template <class Scalar>
void require_final(const RowMajorMatrix<Scalar>& d_final, const SequenceTape<Scalar>& tape) {
  if (d_final.size() == 0) return;
  require_matrix("d_states", d_final, tape.has_state ? tape.max_levels : 0, tape.d_k * tape.d_v);
}

/// Throws where two gradients share memory.
template <class Scalar>
void require_apart(const BatchGradients<Scalar>& gradients) {
  for_each_array(
      [&](const char* name, const HeadArray<Scalar>& one) {
        for_each_array(
            [&](const char* other_name, const HeadArray<Scalar>& other) {
              if (&one == &other || !overlap(one, other)) return;
              fail(Text("the memory of the gradient of ", other_name),
                   Text("shared with that of ", name), "its own");
            },
            gradients);
      },
      gradients);
}

/// Throws unless the arrays for the gradients have the inputs' shapes, can be written to and are
/// distinct.
template <class Scalar>
void require_targets(const BatchInputs<Scalar>& in, const BatchShape& shape,
                     const BatchGradients<Scalar>& gradients) {
  for_each_array(
      [&](const char* name, const HeadArray<const Scalar>& array, const HeadArray<Scalar>& to) {
        if (to.is_absent()) return;
        const std::string what = std::string("the gradient of ") + name;
        require_sizes(what, to, shape, array.rows(), array.columns());
        require_size(what + " (heads)", to.heads(), array.heads());
        require_writable(what, to);
      },
      in, gradients);
  require_apart(gradients);
}

/// The gradients of all heads; those of arrays that heads share are summed over these heads.
template <class Scalar>
class HeadGradients {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  /// Overwrites `of_head`. Throws where a sum is not finite.
  HeadGradients(const BatchInputs<Scalar>& in, const BatchHeads<Scalar>& heads,
                const BatchGradients<Scalar>& to, std::vector<SequenceGradients<Scalar>>& of_head)
      : in_(in), heads_(heads), to_(to), of_head_(of_head) {
    for_each_wanted([&](const char* name, Index n, Index shared, const auto&, auto member) {
      Matrix& sum = of_head_[array_size(n)].*member;
      for (Index h = 1; h < shared; ++h) {
        const Matrix& other = of_head_[array_size(n + h)].*member;
        detail::add(sum.data(), other.data(), sum.size(), sum.data());
      }
      if (shared > 1) require_finite_gradient(name, sum);
    });
  }
  /// Writes them to where they are wanted.
  void write() const {
    for_each_wanted([&](const char*, Index n, Index, const HeadArray<Scalar>& to, auto member) {
      const Index each = to.rows() / heads_.shape().tokens;
      put_rows(of_head_[array_size(n)].*member, to, heads_.rows(n, each));
    });
  }

 private:
  template <class Use>
  void for_each_wanted(Use use) const {
    const GradientMembers<Scalar> members{};
    for_each_array(
        [&](const char* name, const HeadArray<const Scalar>& array, const HeadArray<Scalar>& to,
            Matrix SequenceGradients<Scalar>::*member) {
          if (to.is_absent()) return;
          const Index shared = heads_.shape().heads / array.heads();
          heads_.for_each([&](Index n) {
            if (n % shared == 0) use(name, n, shared, to, member);
          });
        },
        in_, to_, members);
  }

  const BatchInputs<Scalar>& in_;
  const BatchHeads<Scalar>& heads_;
  const BatchGradients<Scalar>& to_;
  std::vector<SequenceGradients<Scalar>>& of_head_;
};

}  // namespace detail

/// The gradients of `sum(d_out * out)` with respect to every array and the initial states, as
/// `chunkwise_gradient` gives them for each head, to the bit. The gradient of what several heads
/// share is the sum over these heads, in their order.
///
/// \param in         the arrays that `chunkwise` was given
/// \param tape       what it kept
/// \param d_out      the gradient with respect to the reads, [B, T, H, d_v]
/// \param gradients  where the gradients go; an absent one is not written. They may take the place
///                   of inputs and of d_out, as all are computed before the first is written, but
///                   must not overlap each other
/// \param d_states   if given: the gradients with respect to the states after the tokens, of each
///                   head max_levels x d_k d_v, or no rows for zero, or no heads at all; becomes
///                   those with respect to the states before the tokens
/// \throws std::invalid_argument as `chunkwise`, for arrays that do not fit the tape, and for a
/// gradient or a sum of gradients that would not be finite; nothing is changed then
///
/// Costs about two and a half times `chunkwise`. All gradients are computed before the first is
/// written, which needs memory for as many numbers again.
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
  detail::require_targets(in, heads.shape(), gradients);

  std::vector<SequenceGradients<Scalar>> all(count);
  std::vector<Matrix> initial(count);
  heads.for_each([&](Index n) {
    const auto at = static_cast<std::size_t>(n);
    const Matrix none;
    const auto& d_final = d_states == nullptr || d_states->empty() ? none : (*d_states)[at];
    detail::require_final(d_final, tape.heads[at]);
    all[at] = chunkwise_gradient<Scalar>(
        heads[n], tape.heads[at], detail::sequence_rows<Scalar>(d_out, heads.rows(n)), d_final);
  });
  detail::HeadGradients<Scalar>(in, heads, gradients, all).write();
  if (d_states == nullptr) return;
  for (std::size_t n = 0; n < count; ++n) initial[n] = std::move(all[n].state);
  *d_states = std::move(initial);
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_GRADIENT_HPP
