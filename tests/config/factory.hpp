// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_FACTORY_HPP
#define LOGLINEAR_TESTS_FACTORY_HPP

#include "loglinear/mode/attention.hpp"

namespace loglinear {

// Compiled in factory_double.cpp and factory_float.cpp.
extern template std::unique_ptr<Attention<double>> make_attention<double>(const AttentionConfig&);
extern template std::unique_ptr<Attention<float>> make_attention<float>(const AttentionConfig&);

}  // namespace loglinear

namespace test {

/// A layer of a type and options chosen by hand, behind the factory's interface; of the config it
/// takes no more than the interface shows. Compiled where make_attention is, see compile.hpp, for
/// all rules in one state and in the hierarchy: the two have most of their code in common.
template <class Layer>
[[nodiscard]] std::unique_ptr<loglinear::Attention<typename Layer::Scalar>> by_hand(
    const loglinear::AttentionConfig& config,
    const typename loglinear::MultiHeadAttention<Layer>::Options& options);

}  // namespace test

#endif  // LOGLINEAR_TESTS_FACTORY_HPP
