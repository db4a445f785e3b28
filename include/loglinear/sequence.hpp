// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_HPP
#define LOGLINEAR_SEQUENCE_HPP

/// \file
/// The sequence form: whole sequences at once, in three ways to the same numbers, with gradients.

#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"
#include "loglinear/sequence/dense.hpp"
#include "loglinear/sequence/exponential_gates.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/sequence/instantiations.hpp"
#include "loglinear/sequence/packed.hpp"
#include "loglinear/sequence/recurrent.hpp"
#include "loglinear/sequence/rotary_phases.hpp"
#include "loglinear/sequence/trapezoidal_steps.hpp"

#endif  // LOGLINEAR_SEQUENCE_HPP
