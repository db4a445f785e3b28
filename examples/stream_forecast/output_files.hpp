// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_OUTPUT_FILES_HPP
#define STREAM_FORECAST_OUTPUT_FILES_HPP

#include "options.hpp"

namespace stream_forecast {

/// Sees to it that no file that will be written is another one, too: the input, the checkpoint to
/// load, standard output, or another output. What counts is the file, not its name: other
/// spellings, hard links and symbolic links are seen through, also those to files that are not
/// there yet. Nothing is written. \param input  the descriptor of the open input \throws
/// std::invalid_argument that names both
void require_distinct_files(const Options& options, int input);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_OUTPUT_FILES_HPP
