#!/bin/sh
# Builds one of the examples, and first installs what they need on Debian (as root; skipped where
# nothing is missing): examples/build TARGET
set -eu
cd "$(dirname "$0")/.."
packages="g++ cmake ninja-build libeigen3-dev libcli11-dev nlohmann-json3-dev gnuplot-nox"
missing=
for package in $packages; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ -n "$missing" ]; then
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
# Compiling takes most of the time: -O3 takes up to a quarter longer than -O2, and GCC is faster where
# it may use memory before it collects garbage.
flags="-O2 -DNDEBUG"
case $("${CXX:-c++}" --version) in
  *clang*) ;;
  *) flags="$flags --param ggc-min-heapsize=500000 -Wno-use-after-free" ;;
esac
cmake -S . -B build/examples -G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=$flags" \
  -DLOGLINEAR_BUILD_TESTS=OFF -DLOGLINEAR_TORCH=OFF >/dev/null
# What is built stays unsaid, unless it fails.
log=build/examples/build.log
cmake --build build/examples --target "$1" >"$log" 2>&1 || { cat "$log" >&2 && exit 1; }
