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
cmake -S . -B build/examples -G Ninja -DCMAKE_BUILD_TYPE=Release -DLOGLINEAR_BUILD_TESTS=OFF >/dev/null
cmake --build build/examples --target "$1" >/dev/null
