// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_COMPILE_HPP
#define LOGLINEAR_TESTS_COMPILE_HPP

// What factory_double.cpp and factory_float.cpp compile.

#include "factory.hpp"

template <class Layer>
std::unique_ptr<loglinear::Attention<typename Layer::Scalar>> test::by_hand(
    const loglinear::AttentionConfig& config,
    const typename loglinear::MultiHeadAttention<Layer>::Options& options) {
  return std::make_unique<loglinear::detail::ErasedAttention<Layer>>(config, options);
}

#define LOGLINEAR_TEST_LAYER(...)                                              \
  template std::unique_ptr<loglinear::Attention<typename __VA_ARGS__::Scalar>> \
  test::by_hand<__VA_ARGS__>(const loglinear::AttentionConfig&,                \
                             const loglinear::MultiHeadAttention<__VA_ARGS__>::Options&)

#define LOGLINEAR_TEST_RULE(Scalar, ...)                                 \
  LOGLINEAR_TEST_LAYER(loglinear::LinearAttention<__VA_ARGS__, Scalar>); \
  LOGLINEAR_TEST_LAYER(loglinear::LogLinearAttention<__VA_ARGS__, Scalar>)

#define LOGLINEAR_TEST_KEY_ONLY(Scalar, ...) \
  LOGLINEAR_TEST_LAYER(loglinear::LogLinearAttention<loglinear::KeyOnly<__VA_ARGS__>, Scalar>)

#define LOGLINEAR_TEST_FACTORY(Scalar)                                                      \
  template std::unique_ptr<loglinear::Attention<Scalar>> loglinear::make_attention<Scalar>( \
      const AttentionConfig&);                                                              \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::RetNet);                                           \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::Hawk);                                             \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::GLA);                                              \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::GLAVector);                                        \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::RWKV);                                             \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::MLSTM);                                            \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::Mamba2);                                           \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::DeltaNet);                                         \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::GatedDeltaNet);                                    \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::RWKV7);                                            \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::HGRN2);                                            \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::DeltaProduct<1>);                                  \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::DeltaProduct<2>);                                  \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::DeltaProduct<3>);                                  \
  LOGLINEAR_TEST_RULE(Scalar, loglinear::DeltaProduct<4>);                                  \
  LOGLINEAR_TEST_KEY_ONLY(Scalar, loglinear::Hawk);                                         \
  LOGLINEAR_TEST_KEY_ONLY(Scalar, loglinear::RWKV);                                         \
  LOGLINEAR_TEST_KEY_ONLY(Scalar, loglinear::DeltaNet);                                     \
  LOGLINEAR_TEST_KEY_ONLY(Scalar, loglinear::DeltaProduct<3>);                              \
  LOGLINEAR_TEST_KEY_ONLY(Scalar, loglinear::RWKV7)

#endif  // LOGLINEAR_TESTS_COMPILE_HPP
