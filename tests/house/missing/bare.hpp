#include <loglinear/version.hpp>
inline std::filesystem::path bare;
