// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_PARALLEL_DETAIL_LOOP_BODY_HPP
#define LOGLINEAR_PARALLEL_DETAIL_LOOP_BODY_HPP

#include <type_traits>

#include "loglinear/detail/base/types.hpp"

namespace loglinear {

/// What an executor calls for each pass of a loop: a reference to a callable, two pointers that
/// copy without allocating. Must not outlive the callable.
class LoopBody {
 public:
  template <class Body>
  requires(!std::is_same_v<Body, LoopBody>) explicit LoopBody(const Body& body)
      : object_(&body),
        call_([](const void* object, Eigen::Index i) { (*static_cast<const Body*>(object))(i); }) {}
  void operator()(Eigen::Index i) const { call_(object_, i); }

 private:
  const void* object_;
  void (*call_)(const void*, Eigen::Index);
};

}  // namespace loglinear

#endif  // LOGLINEAR_PARALLEL_DETAIL_LOOP_BODY_HPP
