# SPDX-License-Identifier: MIT
# A training on a tiny text learns it, and one that is killed and started again writes the same
# files: sh train.sh [TRAIN]
. "$(dirname "$0")/../recall/helpers.sh"

# Sentences of four words of four each: two bits a word of some five bytes, so that who has learnt
# them all needs 0.4 bits a byte, who knows the letters alone some four, and who knows nothing eight.
mkdir text
awk 'BEGIN {
  split("alpha beta gamma delta", who); split("makes takes finds likes", does)
  split("green small round heavy", how); split("stones apples boxes wheels", what)
  for (i = 1; i < 2000; ++i) {
    seed = (seed * 1103515245 + 12345) % 2147483648; a = int(seed / 65536)
    print who[1 + a % 4], does[1 + int(a / 4) % 4], how[1 + int(a / 16) % 4], what[1 + int(a / 64) % 4]
  }
}' > text/sentences

training="--text text --length 32 --batch 8 --d-model 16 --heads 1 --blocks 1 --mlp-width 32 \
--steps 200 --warm-up 10 --learning-rate 0.02 --test-bytes 4096 --evaluate 32,128"

# below BOUND FILE: the bits a byte at the trained length.
below() {
  awk -F , -v bound="$1" 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
    $at["test_length"] == 32 { bits = $at["bits_per_byte"]; seen = 1 }
    END { print bits; exit !(seen && bits < bound) }' "$2" || fail "$2: not below $1"
}
# files FOLDER: what a training has written, but for the seconds.
files() {
  cksum < "$1/model.safetensors"
  cksum < "$1/config.json"
  sed 's/,[^,]*$//' "$1/scores.csv"
}

for model in "mamba2 softplus" "gated_delta_net mlp" "rotary one_state"; do
  # shellcheck disable=SC2086
  set -- $model
  # shellcheck disable=SC2086
  "$program" $training --mixer "$1" --weighting "$2" --out "$1" > log 2>&1 || fail "$1: $(cat log)"
  below 1.5 "$1/scores.csv"
  ls "$1"/*.pt > log 2>&1 && fail "a complete training left its checkpoint"
done

# Killed three times, each time once it has written another checkpoint; then to the end.
for kill in 1 2 3; do
  before=$(cat killed/training.pt 2> /dev/null | cksum)
  # shellcheck disable=SC2086
  "$program" $training --mixer mamba2 --save-every 10 --out killed > log 2>&1 &
  process=$!
  while [ "$(cat killed/training.pt 2> /dev/null | cksum)" = "$before" ]; do
    kill -0 "$process" 2> /dev/null || fail "ended before kill $kill: $(cat log)"
    sleep 0.05
  done
  kill -KILL "$process"
  wait "$process" 2> /dev/null
done
[ -e killed/scores.csv ] && fail "complete already"

# Another training does not go on from this checkpoint.
# shellcheck disable=SC2086
"$program" $training --mixer mamba2 --tied --out killed > log 2>&1 && fail "another went on"
grep -q "another training" log || fail "$(cat log)"

# shellcheck disable=SC2086
"$program" $training --mixer mamba2 --save-every 10 --out killed > log 2>&1 || fail "$(cat log)"
[ "$(files killed)" = "$(files mamba2)" ] || fail "other files"
# shellcheck disable=SC2086
"$program" $training --mixer mamba2 --out killed > log 2>&1 || fail "$(cat log)"
grep -q "is complete" log || fail "a complete training was run again"

# What is complete does not stand for a training of other options, or of another text.
mkdir other && sed 's/alpha/omega/' text/sentences > other/sentences
for more in --tied "--seed 2" "--dtype f32"; do
  # shellcheck disable=SC2086
  "$program" $training --mixer mamba2 --out killed $more > log 2>&1 && fail "$more was taken for complete"
  grep -q "complete training of other options" log || fail "$more: $(cat log)"
done
# shellcheck disable=SC2086
"$program" --text other ${training#--text text} --mixer mamba2 --out killed > log 2>&1 && fail "another text"
grep -q "complete training of other options" log || fail "another text: $(cat log)"
exit 0
