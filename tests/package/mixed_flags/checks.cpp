// SPDX-License-Identifier: MIT
#include <loglinear/rules/retnet.hpp>
