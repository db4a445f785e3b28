// SPDX-License-Identifier: MIT
// A program whose other headers define macros, as those of operating systems, windows and boards
// do. Eigen and <memory> are included before them: neither Eigen nor GCC's <memory> survives them.
#include <Eigen/Core>
#include <memory>

// windows.h without NOMINMAX
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define near
#define far
#define small char
#define hyper long
#define interface struct
#define IN
#define OUT
#define OPTIONAL
#define ERROR 0
#define DELETE 0x00010000L
#define STRICT 1
#define CONST const
#define VOID void
#define TRUE 1
#define FALSE 0
#define GetObject GetObjectA
#define CreateWindow CreateWindowA
#define IGNORE 0
#define NO_ERROR 0
#define RELATIVE 1
#define ABSOLUTE 2
// math.h and complex.h
#define OVERFLOW 3
#define UNDERFLOW 4
#define DOMAIN 1
#define SING 2
#define PLOSS 6
#define TLOSS 5
#define HUGE 3.4e38F
#define I (1.0i)
#define complex _Complex
#define imaginary _Imaginary
// X11
#define None 0L
#define Bool int
#define True 1
#define False 0
#define Status int
#define Always 2
#define Success 0
// sys/param.h, ctype.h, Arduino.h, Objective-C
#define MAX(a, b) (((a) > (b)) ? (a) : (b))
#define MIN(a, b) (((a) < (b)) ? (a) : (b))
#define major(dev) (dev)
#define minor(dev) (dev)
#define unix 1
#define linux 1
#define PI 3.14159265358979
#define radians(degrees) ((degrees)*PI / 180)
#define sq(x) ((x) * (x))
#define bit(b) (1UL << (b))
#define F(text) (text)
#define B0 0
#define B1 1
#define nil 0
#define YES 1
#define NO 0
#define check(condition) ((void)(condition))
#define verify(condition) ((void)(condition))
#define require(condition, label) ((void)0)
#define assert_(condition) ((void)0)

#ifdef WITH_SINGLE_HEADER
#  include "loglinear.hpp"
#else
#  include <loglinear/loglinear.hpp>
#  include <loglinear/mode/attention.hpp>
#  include <loglinear/mode/mode_text.hpp>
#endif

int main() {
  using namespace loglinear;
  LogLinearAttention<GatedDeltaNet, float> layer({.d_model = 4, .d_k = 4, .d_v = 3});
  LinearAttention<DeltaProduct<2>> linear({.d_model = 4, .d_k = 4, .d_v = 3});
  for (int t = 0; t < 9; ++t) {
    layer.train_one(Eigen::VectorXf::Constant(4, 0.5F), Eigen::VectorXf::Ones(3));
    linear.forward(Eigen::VectorXd::Ones(4));
  }
  using Rows = SequenceInputs<double>::Matrix;
  const Rows q = Rows::Random(20, 3), v = Rows::Random(20, 2), lambda = Rows::Ones(20, 6);
  const Rows g = Rows::Constant(20, 1, -0.5);
  const SequenceInputs<double> in{.q = q, .k = q, .v = v, .lambda = lambda, .g = g};
  const double apart = (chunkwise(in) - dense(in)).norm();
  const bool named = to_text(parse_mode("gla")) == "gla";
  const auto gradients = chunkwise_gradient(in, v);
  LogLinearState<Eigen::bfloat16> narrow(4, 3, 2);
  narrow.push_leaf(Eigen::Vector3f(1, 2, 3), Eigen::Vector2f(4, 5));
  RecursiveLeastSquares<float> readout({.features = 3});
  readout.update(Eigen::Vector3f(1, 2, 3), Eigen::VectorXf::Ones(1));
  return layer.size() == 9 && apart < 1e-12 && named && gradients.g.size() == 20 ? 0 : 1;
}
