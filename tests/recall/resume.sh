# SPDX-License-Identifier: MIT
# A training that is killed and started again ends with the numbers of an undisturbed one:
# sh resume.sh [RECALL]
. "$(dirname "$0")/helpers.sh"

training="$small --mixer gated_delta_net --weighting mlp --save-every 10 --seeds 2 --steps 400"

# numbers FOLDER: all tables but for their last column, the seconds.
numbers() {
  cat "$1"/*.csv | sed 's/,[^,]*$//'
}

# shellcheck disable=SC2086
"$program" $training --out whole > log || fail "undisturbed: $(cat log)"
[ "$(numbers whole | wc -l)" -gt 4 ] || fail "no tables"
ls whole/*.pt 2> files && fail "a complete run left its checkpoint"

# Killed four times, each time once it has written another checkpoint; then to the end.
for kill in 1 2 3 4; do
  before=$(cat killed/*.pt 2> /dev/null | cksum)
  # shellcheck disable=SC2086
  "$program" $training --out killed > log 2>&1 &
  process=$!
  while [ "$(cat killed/*.pt 2> /dev/null | cksum)" = "$before" ]; do
    kill -0 "$process" 2> /dev/null || fail "ended before kill $kill: $(cat log)"
    sleep 0.05
  done
  kill -KILL "$process"
  wait "$process" 2> /dev/null
done
ls killed/*.csv > files 2>&1 && fail "complete already"
# shellcheck disable=SC2086
"$program" $training --out killed > log 2>&1 || fail "the last time: $(cat log)"
[ "$(numbers killed)" = "$(numbers whole)" ] || fail "other numbers"

# What is complete is left alone.
stamp=$(cksum killed/*.csv)
# shellcheck disable=SC2086
"$program" $training --out killed > log || fail "again: $(cat log)"
[ "$(grep -c 'is complete' log)" -eq 2 ] || fail "a complete run was run again"
[ "$(cksum killed/*.csv)" = "$stamp" ] || fail "a complete run was written again"

# Another configuration never goes on from this one's checkpoint.
# shellcheck disable=SC2086
"$program" ${training% --steps 400} --steps 401 --out killed > log || fail "$(cat log)"
[ "$(ls killed/*.csv | wc -l)" -eq 4 ] || fail "two configurations share a file"
