// SPDX-License-Identifier: MIT
#include "memory.hpp"

namespace stream_forecast {

template <class Scalar>
std::unique_ptr<Memory<Scalar>> make_memory(const loglinear::LogLinear& mode, States states,
                                            const MemoryShape& shape) {
  mode.validate();
  const auto make = [&](const auto& rule) {
    return make_memory_of<Scalar>(rule, mode, states, shape);
  };
  return mode.key_only ? loglinear::visit_key_only(mode.inner, make)
                       : loglinear::visit_rule(mode.inner, make);
}

template std::unique_ptr<Memory<float>> make_memory(const loglinear::LogLinear&, States,
                                                    const MemoryShape&);
template std::unique_ptr<Memory<double>> make_memory(const loglinear::LogLinear&, States,
                                                     const MemoryShape&);

}  // namespace stream_forecast
