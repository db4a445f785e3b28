// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP
#define LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP

namespace loglinear::detail {

/// A token that may be written, as `admit` found it: its write demands this.
struct Admitted {
  double magnitude = 0;  // a bound of the norm of everything after the write
  double growth = 1;     // by which the token's transition can grow a norm
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP
