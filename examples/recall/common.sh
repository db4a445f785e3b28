# SPDX-License-Identifier: MIT
# Read by the scripts that make results:  examples/recall/RESULT [--seeds N] [--steps N] [--jobs N]
#
#   --seeds N  how many of each configuration, 5 by default
#   --steps N  of each training; fewer make a quick, worse result
#   --jobs N   trainings at the same time, one thread each; by default as many as processors
#
# A script says `add OPTIONS` for each configuration, `run_all`, and then what to show. Trainings
# that are complete are not run again, interrupted ones go on; so a script can be stopped at any
# time and started again. Tables, pictures and the raw CSV go to docs/results/.
set -eu
recall=$(dirname "$0")
root=$recall/../..
result=$(basename "$0")
seeds=5
steps=
jobs=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --seeds) seeds=$2 ;;
    --steps) steps=$2 ;;
    --jobs) jobs=$2 ;;
    *)
      echo "usage: $0 [--seeds N] [--steps N] [--jobs N]" >&2
      exit 2
      ;;
  esac
  shift 2
done

# As root, installs what is missing. OpenBLAS is several times faster than the BLAS that LibTorch
# falls back on.
packages="g++ cmake ninja-build libeigen3-dev libcli11-dev nlohmann-json3-dev gnuplot-nox \
libtorch-dev libopenblas0-serial ${more_packages:-}"
missing=
for package in $packages; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ -n "$missing" ]; then
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
# For this machine alone: see README.md.
build=$root/build/recall
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLOGLINEAR_BUILD_TESTS=OFF \
  -DCMAKE_CXX_FLAGS=-march=native >/dev/null
cmake --build "$build" --target recall >/dev/null
program=$build/examples/recall/recall
# Debian's OpenBLAS takes AVX-512 processors that are younger than itself for ones without.
if grep -q avx512f /proc/cpuinfo 2>/dev/null; then
  export OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-SkylakeX}"
fi

runs=$build/runs
results=$root/docs/results
mkdir -p "$runs" "$results"
list=$build/$result.list
: > "$list"

# add OPTION...: a configuration, all seeds. The first seeds of all configurations come first.
add() {
  echo "$*" --out "$runs" >> "$list"
}

# run_all: trains; $csv is then one table of all runs.
run_all() {
  seed=1
  while [ "$seed" -le "$seeds" ]; do
    sed "s/\$/ --seed $seed/" "$list"
    seed=$((seed + 1))
  done | xargs -P "$jobs" -L 1 "$program"
  csv=$results/$result.csv
  sed "s/\$/ --seeds $seeds --print-results/" "$list" | xargs -L 1 "$program" |
    xargs awk 'FNR > 1 || NR == 1' > "$csv.new"
  mv "$csv.new" "$csv"
}

# show TITLE AWK_OPTION...: the table of $csv that summary.awk makes, on standard output.
show() {
  echo "$1:"
  echo
  shift
  awk -f "$recall/summary.awk" "$@" "$csv"
  echo
}

# spent: what all that has cost.
spent() {
  awk -F , -v command="examples/recall/$result" '
    NR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
    $column["group"] == "all" {
      key = ""
      for (i = 1; i <= NF; ++i) if (i < column["test_length"]) key = key FS $i
      spent[key] = $column["seconds"]
    }
    END {
      for (key in spent) { ++runs; sum += spent[key] }
      printf "`%s`, %d trainings, %.1f minutes of one core in all.\n", command, runs, sum / 60
    }' "$csv"
}

# draw PICTURE.svg XLABEL YLABEL GNUPLOT AWK_OPTION...: mean and spread against a column, a line a
# row. GNUPLOT: further commands.
draw() {
  picture=$results/$1 xlabel=$2 ylabel=$3 further=$4
  shift 4
  awk -f "$recall/summary.awk" -v form=points "$@" "$csv" > "$build/$result.points"
  gnuplot -e "points='$build/$result.points'; picture='$picture'; x='$xlabel'; y='$ylabel'; $further" \
    "$recall/lines.gp"
}
