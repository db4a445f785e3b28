// SPDX-License-Identifier: MIT
// Nothing: a target must have a source, and precompiled.hpp is compiled for it.
