// SPDX-License-Identifier: MIT
// What the sources of this folder include, to be precompiled.
#include "loglinear/loglinear.hpp"
#include "loglinear/sequence.hpp"
