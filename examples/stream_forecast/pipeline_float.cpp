// SPDX-License-Identifier: MIT
// The pipeline and the layers of all rules in one precision: a file each, so that they compile side
// by side.
#include "layer_memory.hpp"
#include "typed_pipeline.hpp"

namespace stream_forecast {

template std::unique_ptr<Memory<float>> make_memory(const loglinear::LogLinear&, States,
                                                    const MemoryShape&);

std::unique_ptr<Pipeline> make_float_pipeline(const Options& options, Pipeline::Sink sink) {
  return std::make_unique<TypedPipeline<float>>(options, std::move(sink));
}

}  // namespace stream_forecast
