# SPDX-License-Identifier: MIT
# Small trainings with fixed seeds end below a stated loss: sh smoke.sh [RECALL]
. "$(dirname "$0")/helpers.sh"

# below BOUND ARGUMENT...: the loss of the test instances.
below() {
  bound=$1
  shift
  # shellcheck disable=SC2086
  "$program" "$@" --out out > log 2>&1 || fail "$*: $(cat log)"
  loss=$(awk -F , 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
                   $at["group"] == "all" { print $at["loss"] }' out/*.csv)
  awk "BEGIN { exit !($loss < $bound) }" || fail "$*: the loss is $loss, not below $bound"
  rm -r out
}
