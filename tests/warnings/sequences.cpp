// SPDX-License-Identifier: MIT
// Instantiates the sequence form: what a consumer may use compiles without warnings.
#include <loglinear/sequence.hpp>

namespace loglinear {

template <class Scalar>
double everything(const SequenceInputs<Scalar>& in) {
  using Matrix = typename SequenceInputs<Scalar>::Matrix;
  LogLinearState<Scalar> state(6, in.d_k(), in.d_v());
  SequenceTape<Scalar> tape;
  Matrix sum = dense(in) + dense(in, state) + chunkwise(in) + chunkwise(in, state, {}, &tape);
  sum += recurrent(in, state);
  sum += chunkwise_gradient(in, tape, sum).v;
  sum += chunkwise_gradient(in, state, sum).q;
  sum += chunkwise_gradient(in, sum).k;
  std::vector<LogLinearState<Scalar>> states{state};
  sum += chunkwise(in, {0, in.length()}, states);
  sum += chunkwise_gradient(in, {0, in.length()}, states, sum).q;
  return static_cast<double>(sum.sum());
}
template double everything(const SequenceInputs<float>&);
template double everything(const SequenceInputs<double>&);

}  // namespace loglinear
