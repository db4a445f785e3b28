// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_EXCEPTIONS_INJECTION_HPP
#define LOGLINEAR_TESTS_EXCEPTIONS_INJECTION_HPP

// Exceptions are thrown from within an operation at its first possible place, at its second, and so
// on until nothing is thrown any more. Each time the object must be what it was, to the bit, and
// the operation, called again, must do what it does undisturbed.

#include <concepts>
#include <cstdio>
#include <functional>
#include <string>
#include <type_traits>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"

namespace loglinear::test {

/// What throws: `arm(k)` makes place number k throw, `disarm()` ends that and says how often it
/// did.
template <class Source>
concept Injection = requires(Source& source) {
  source.arm(0);
  { source.disarm() } -> std::convertible_to<int>;
};

/// Counts over the whole program.
struct Tally {
  const char* what;
  long thrown = 0, operations = 0;
  explicit Tally(const char* name) : what(name) {}
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;
  ~Tally() { std::printf("%ld %s in %ld operations\n", thrown, what, operations); }
};

/// Compiled once for each type of object, whatever is done to it.
template <class Object>
using BytesOf = std::type_identity_t<std::function<std::string(const Object&)>>;
template <class Object>
using Operation = std::type_identity_t<std::function<void(Object&)>>;

/// \param bytes_of   everything on which the object's future depends
/// \param operation  what is done to a copy of `original`
template <Injection Source, class Object>
void check_unharmed(Source source, const char* name, const Object& original,
                    const BytesOf<Object>& bytes_of, const Operation<Object>& operation) {
  INFO(name);
  const std::string before = bytes_of(original);
  Object undisturbed(original);
  operation(undisturbed);
  const std::string after = bytes_of(undisturbed);
  bool is_unchanged = true, goes_on = true;
  int place = 0, thrown = 0;
  for (bool injected = true; injected; ++place) {
    Object object(original);
    bool came_out = false;
    source.arm(place);
    try {
      operation(object);
    } catch (const typename Source::Error&) {
      came_out = true;
    }
    const int times = source.disarm();
    injected = times > 0;
    if (injected && came_out) {
      ++thrown;
      is_unchanged = is_unchanged && bytes_of(object) == before;
      operation(object);
    }
    // An error may also have been dealt with on the way.
    goes_on = goes_on && bytes_of(object) == after;
    if (!is_unchanged || !goes_on) break;
  }
  CAPTURE(place);
  CHECK(is_unchanged);
  CHECK(goes_on);
  Source::tally().thrown += thrown;
  ++Source::tally().operations;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_EXCEPTIONS_INJECTION_HPP
