# SPDX-License-Identifier: MIT
# Read by the scripts that make results:  examples/recall/RESULT [--seeds N] [--steps N] [--jobs N]
#
#   --seeds N  how many of each configuration, 5 by default
#   --steps N  of each training; fewer make a quick, worse result
#   --jobs N   trainings at the same time, one thread each; by default as many as processors
#
# A script says `add OPTIONS` or `add_tuned RATES OPTIONS` for each configuration, `run_all`, and
# then what to show. Trainings that are complete are not run again, interrupted ones go on; so a
# script can be stopped at any time and started again. Tables, pictures and the raw CSV go to
# docs/results/.
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
tuning=$build/$result.tuning
: > "$list"
: > "$tuning"

# add OPTION...: a configuration, all seeds. The first seeds of all configurations come first.
add() {
  echo "$*" --out "$runs" >> "$list"
}

# add_tuned RATES OPTION...: the same with one of several learning rates, such as "0.003 0.01". A
# seed that serves nothing else is trained with each, and the one with the least loss is taken.
add_tuned() {
  rates=$1
  shift
  for rate in $rates; do
    echo "$*" --out "$runs" --seed 101 --learning-rate "$rate" >> "$tuning"
  done
}

# choose_rates: trains what add_tuned asked for, and adds each configuration with its best rate.
choose_rates() {
  xargs -P "$jobs" -L 1 "$program" < "$tuning"
  while read -r options; do
    # shellcheck disable=SC2086
    loss=$(awk -F , 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
                     $at["group"] == "all" && $at["test_length"] == $at["length"] {
                       sum += $at["loss"] }
                     END { print sum }' "$("$program" $options --print-results)")
    echo "$loss ${options##* } ${options%% --out*}"
  done < "$tuning" | awk '
    { loss = $1; rate = $2; $1 = $2 = "" }
    !($0 in least) { order[++n] = $0 }
    !($0 in least) || loss < least[$0] { least[$0] = loss; best[$0] = rate }
    END { for (i = 1; i <= n; ++i) print order[i], "--learning-rate", best[order[i]] }' |
    while read -r options; do add "$options"; done
}

# run_all: trains; $csv is then one table of all runs.
run_all() {
  [ ! -s "$tuning" ] || choose_rates
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

# summary AWK_OPTION...: what summary.awk makes of $csv.
summary() {
  awk -f "$recall/../learning/student.awk" -f "$recall/summary.awk" "$@" "$csv"
}

# show TITLE AWK_OPTION...: the table of $csv that summary.awk makes, on standard output.
show() {
  echo "$1:"
  echo
  shift
  summary "$@"
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

# draw PICTURE.svg XLABEL YLABEL GNUPLOT AWK_OPTION...: mean and interval against a column, a line a
# row. GNUPLOT: further commands.
draw() {
  picture=$results/$1 xlabel=$2 ylabel=$3 further=$4
  shift 4
  summary -v form=points "$@" > "$build/$result.points"
  gnuplot -e "points='$build/$result.points'; picture='$picture'; x='$xlabel'; y='$ylabel'; $further" \
    "$recall/lines.gp"
}
