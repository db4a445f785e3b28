// SPDX-License-Identifier: MIT
// The pipeline in one precision: a file each, so that they compile side by side.
#include "typed_pipeline.hpp"

namespace stream_forecast {

std::unique_ptr<Pipeline> make_float_pipeline(const Options& options, Pipeline::Sink sink) {
  return std::make_unique<TypedPipeline<float>>(options, std::move(sink));
}

}  // namespace stream_forecast
