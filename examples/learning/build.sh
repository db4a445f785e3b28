# SPDX-License-Identifier: MIT
# Read by the scripts that train, after they have set
#   root          the repository
#   build         a folder to build in
#   targets       what to build
#   more_packages Debian's names of what they need besides compiler and libraries

# As root, installs what is missing. OpenBLAS is several times faster than the BLAS that LibTorch
# falls back on.
packages="g++ cmake ninja-build libeigen3-dev libcli11-dev nlohmann-json3-dev libtorch-dev \
libopenblas0-serial ${more_packages:-}"
missing=
for package in $packages; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ -n "$missing" ]; then
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
# For this machine alone: see examples/recall/README.md.
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLOGLINEAR_BUILD_TESTS=OFF \
  -DCMAKE_CXX_FLAGS=-march=native >/dev/null
# What is built stays unsaid, unless it fails.
# shellcheck disable=SC2086
cmake --build "$build" --target $targets >"$build/build.log" 2>&1 ||
  { cat "$build/build.log" >&2 && exit 1; }
# Debian's OpenBLAS takes AVX-512 processors that are younger than itself for ones without.
if grep -q avx512f /proc/cpuinfo 2>/dev/null; then
  export OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-SkylakeX}"
fi
