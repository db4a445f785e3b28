# SPDX-License-Identifier: MIT
# Read by every script here: sh SCRIPT.sh PROGRAM TAYLOR_CSV
set -u
program=$1
taylor=$2
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failures=0

complain() {
  echo "FAIL: $*"
  failures=$((failures + 1))
}

finish() {
  [ "$failures" -eq 0 ] || exit 1
  exit 0
}

# expect STATUS PATTERN ARGUMENT...: runs the program with empty input; its exit status and
# something on standard error must be as said.
expect() {
  wanted=$1 pattern=$2
  shift 2
  "$program" "$@" > out 2> err < /dev/null
  status=$?
  [ "$status" -eq "$wanted" ] || complain "$*: exit status $status, not $wanted; $(cat err)"
  grep -q -e "$pattern" err || complain "$*: no '$pattern' in: $(cat err)"
}

# A model's figure in the table in the file `out`: figure MODEL COLUMN, the column one of 1st and 2nd
# (the mean absolute errors of both halves), MAE, RMSE and MAPE.
figure() {
  awk -v model="$1" -v column="$2" '
    index($0, model " ") == 1 {
      $0 = substr($0, length(model) + 1)
      print $(index("1st 2nd MAE RMSEMAPE", column) / 4 + 1)
      exit
    }' out
}

# holds CONDITION: an awk condition on numbers.
holds() {
  awk "BEGIN { exit !($1) }" || complain "not so: $1 ${2:-}"
}
