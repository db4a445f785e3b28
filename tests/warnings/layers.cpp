// SPDX-License-Identifier: MIT
// Instantiates layers, states and mixers whole: what a consumer may use compiles without warnings.
#include <loglinear/loglinear.hpp>

namespace loglinear {

template class LogLinearAttention<GLA, float>;
template class LogLinearAttention<RWKV7, double>;
template class LogLinearAttention<DeltaProduct<3>, float, SoftplusWeights>;
template class LogLinearAttention<Mamba2, float, OneLevel>;
template class MultiHeadAttention<LogLinearAttention<GatedDeltaNet, float>>;
template class StreamPart<LogLinearAttention<Mamba2, float>>;
template class StreamPart<LogLinearAttention<GLAVector, double>, PartProduct::matrix>;
template class Rewindable<LogLinearAttention<MLSTM, float>>;
template class LogLinearState<float, 4, 4, 4>;
template class LogLinearState<Eigen::bfloat16>;
template class LogLinearState<Eigen::half>;
template class LogLinearGatedDeltaNet<float>;
template class LogLinearMamba2<float>;
template class RecursiveLeastSquares<float>;

}  // namespace loglinear
