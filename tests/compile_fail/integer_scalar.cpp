// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

#ifdef BROKEN
using Scalar = int;
#else
using Scalar = float;
#endif

loglinear::LogLinearState<Scalar> make() {
  return {4, 2, 2};
}
