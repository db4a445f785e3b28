// SPDX-License-Identifier: MIT
// Messages are the same under a global locale that groups digits and has a decimal comma.
#include <functional>
#include <locale>
#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/mode/mode_text.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/rules/retnet.hpp"
#include "loglinear/sequence/dense.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Layer = LogLinearAttention<RetNet, float>;

struct Grouping final : std::numpunct<char> {
  char do_thousands_sep() const override { return '.'; }
  char do_decimal_point() const override { return ','; }
  std::string do_grouping() const override { return "\3"; }
};

class InGroupingLocale {
 public:
  InGroupingLocale() : old_(std::locale::global(std::locale(std::locale(), new Grouping))) {}
  ~InGroupingLocale() { std::locale::global(old_); }
  InGroupingLocale(const InGroupingLocale&) = delete;
  InGroupingLocale& operator=(const InGroupingLocale&) = delete;

 private:
  std::locale old_;
};

}  // namespace

TEST_CASE("Messages do not follow the global locale") {
  using Rows = SequenceInputs<double>::Matrix;
  const Rows long_q = Rows::Zero(4321, 1), k = Rows::Zero(1234, 1), lambda = Rows::Ones(4321, 13);
  Rows bad_q = Rows::Zero(2000, 1);
  bad_q(1234, 0) = std::numeric_limits<double>::infinity();
  const Rows some = Rows::Zero(2000, 1), some_lambda = Rows::Ones(2000, 12);
  const struct {
    std::function<void()> call;
    std::string message;
  } cases[] = {
      {[] { Layer layer({.d_model = 4, .d_k = -1234567, .d_v = 4}); }, "d_k is -1234567;"},
      {[] { Layer layer({.d_model = 4, .d_k = 4, .d_v = 4, .max_levels = 1000}); },
       "max_levels is 1000; it must be between 1 and 64"},
      {[] { Layer layer({.d_model = 4, .d_k = 4, .d_v = 4, .learning_rate = -1234.5}); },
       "learning_rate is -1234.5;"},
      {[] {
         Layer layer({.d_model = 2345, .d_k = 4, .d_v = 4});
         layer.forward(Eigen::VectorXf::Zero(1234567));
       },
       "the size of x is 1234567; it must be 2345"},
      {[&] { (void)dense(SequenceInputs<double>{.q = long_q, .k = k, .v = k, .lambda = lambda}); },
       "is 1234;"},
      {[&] {
         (void)dense(
             SequenceInputs<double>{.q = bad_q, .k = some, .v = some, .lambda = some_lambda});
       },
       "q[1234] is inf; it must be finite"},
      {[] { RecursiveLeastSquares<double> readout({.features = 1, .forgetting = 1234.5}); },
       "forgetting is 1234.5; it must be in (0, 1]"},
      {[] { (void)parse_mode("log_linear(gla(gate_bias=oops" + std::string(2000, ' ') + ")"); },
       "column 26"},
      {[] { (void)parse_mode("gla" + std::string(2000, ' ') + "x"); }, "column 2004"},
  };
  for (const auto& [call, message] : cases) {
    const std::string before = test::error_of(call);
    std::string after;
    {
      const InGroupingLocale grouping;
      after = test::error_of(call);
    }
    CAPTURE(before, after);
    CHECK(test::mentions(before, {message}));
    CHECK(after == before);
  }
}
