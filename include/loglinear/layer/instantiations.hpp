// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_INSTANTIATIONS_HPP
#define LOGLINEAR_LAYER_INSTANTIATIONS_HPP

// The memory of a head for the library's kinds of transition, compiled once, see compiled_once.hpp.

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/layer/detail/workspace.hpp"
#include "loglinear/stream/instantiations.hpp"

#define LOGLINEAR_WORKSPACES_OF(EXTERN, SCALAR, KIND)                               \
  EXTERN template detail::Workspace<KIND> detail::make_workspace(                   \
      const detail::Layout&, Eigen::Index, Eigen::Index, const detail::ReadShape&); \
  EXTERN template detail::TrainingWorkspace<KIND> detail::make_training_workspace(  \
      const detail::Layout&, Eigen::Index, const detail::ReadShape&);               \
  EXTERN template void detail::require_shape_of(const detail::Workspace<KIND>&,     \
                                                const detail::Workspace<KIND>&);

#define LOGLINEAR_WORKSPACES(EXTERN, SCALAR) \
  LOGLINEAR_FOR_EACH_KIND(LOGLINEAR_WORKSPACES_OF, EXTERN, SCALAR)
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_WORKSPACES)

#endif  // LOGLINEAR_LAYER_INSTANTIATIONS_HPP
