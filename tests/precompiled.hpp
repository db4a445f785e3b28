// SPDX-License-Identifier: MIT
// What the compiler parses once for all test programs: others' headers alone. Nothing includes this
// file: CMake puts it in front of each source, and each source includes what it uses all the same
// (`-DLOGLINEAR_TEST_PRECOMPILED=OFF` builds without it).
#include <Eigen/Core>
#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <complex>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "catch.hpp"
