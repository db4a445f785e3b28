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

build=$root/build/recall
targets=recall
more_packages="gnuplot-nox ${more_packages:-}"
. "$recall/../learning/build.sh"
program=$build/examples/recall/recall

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
