// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_FACTORY_HPP
#define LOGLINEAR_TESTS_FACTORY_HPP

#include "loglinear/config.hpp"

namespace loglinear {

// Compiled in factory_double.cpp and factory_float.cpp.
extern template std::unique_ptr<Attention<double>> make_attention<double>(const AttentionConfig&);
extern template std::unique_ptr<Attention<float>> make_attention<float>(const AttentionConfig&);

}  // namespace loglinear

#endif  // LOGLINEAR_TESTS_FACTORY_HPP
