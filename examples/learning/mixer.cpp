// SPDX-License-Identifier: MIT
#include "mixer.hpp"

#include <loglinear/detail/base/checks.hpp>

namespace learning {

std::shared_ptr<Mixer> make_mixer(const std::string& name, const std::string& weighting,
                                  const MixerShape& shape) {
  if (name == "softmax") return std::make_shared<SoftmaxAttention>(shape);
  if (name == "rotary") return std::make_shared<RotaryAttention>(shape);
  if (name == "mamba2") return std::make_shared<Mamba2>(shape, weighting);
  if (name == "gated_delta_net") return std::make_shared<GatedDeltaNet>(shape, weighting);
  loglinear::detail::fail("mixer", name, "softmax, rotary, mamba2 or gated_delta_net");
}

}  // namespace learning
