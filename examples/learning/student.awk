# SPDX-License-Identifier: MIT
# Student's t for an interval of 95 % with n degrees of freedom.
function student(n) {
  split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228", t, " ")
  return n > 10 ? 2.2 : t[n]
}
