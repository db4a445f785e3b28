# SPDX-License-Identifier: MIT
# A training that is killed and started again ends with the numbers of an undisturbed one, also on
# two threads: sh resume.sh [RECALL]
. "$(dirname "$0")/helpers.sh"

training="$small --mixer gated_delta_net --weighting mlp --steps 60 --save-every 10 --seeds 2"

# numbers FOLDER: all tables but for their last column, the seconds.
numbers() {
  cat "$1"/*.csv | sed 's/,[^,]*$//'
}

# shellcheck disable=SC2086
"$program" $training --out whole > log || fail "undisturbed: $(cat log)"
[ "$(numbers whole | wc -l)" -gt 4 ] || fail "no tables"
ls whole/*.pt 2> files && fail "a complete run left its checkpoint"

# Killed as soon as there is a checkpoint of either seed, again and again.
kills=0
while :; do
  # shellcheck disable=SC2086
  "$program" $training --out killed > log 2>&1 &
  process=$!
  before=$(cat killed/*.pt 2> /dev/null | cksum)
  while kill -0 "$process" 2> /dev/null; do
    if [ "$kills" -lt 4 ] && [ "$(cat killed/*.pt 2> /dev/null | cksum)" != "$before" ]; then
      kill -KILL "$process" 2> /dev/null && kills=$((kills + 1))
      break
    fi
  done
  wait "$process" 2> /dev/null && break
  [ "$kills" -gt 0 ] || fail "never killed: $(cat log)"
done
[ "$kills" -ge 2 ] || fail "killed only $kills times"
[ "$(numbers killed)" = "$(numbers whole)" ] || fail "other numbers after $kills kills"

# What is complete is left alone.
stamp=$(cksum killed/*.csv)
# shellcheck disable=SC2086
"$program" $training --out killed > log || fail "again: $(cat log)"
[ "$(grep -c 'is complete' log)" -eq 2 ] || fail "a complete run was run again"
[ "$(cksum killed/*.csv)" = "$stamp" ] || fail "a complete run was written again"

# Another configuration never goes on from this one's checkpoint.
# shellcheck disable=SC2086
timeout -s KILL 120 "$program" $training --steps 61 --out killed > log || fail "$(cat log)"
[ "$(ls killed/*.csv | wc -l)" -eq 4 ] || fail "two configurations share a file"
