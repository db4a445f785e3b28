// SPDX-License-Identifier: MIT
// Instantiates checkpoints: what a consumer may use compiles without warnings.
#include <loglinear/checkpoint.hpp>
#include <loglinear/loglinear.hpp>

namespace {

template <class Object>
void there_and_back(Object& object) {
  loglinear::save("file", object);
  loglinear::load("file", object);
}

}  // namespace

void use(loglinear::LogLinearAttention<loglinear::RWKV7, float>& layer,
         loglinear::MultiHeadAttention<loglinear::LogLinearAttention<loglinear::GLA>>& heads) {
  there_and_back(layer);
  there_and_back(heads);
  loglinear::load_weights("file", layer);
  loglinear::save_weights("file", layer);
}
