#!/bin/sh
# The programs generate and score on models with drawn weights.
#   programs.sh MAKE_FOLDER GENERATE SCORE
set -eu
make_folder=$1 generate=$2 score=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "$1" >&2
  exit 1
}
"$make_folder" "$work/model"
"$make_folder" "$work/growing" 0
"$make_folder" "$work/window" 20

# As many bytes as asked for, after the prompt, the same for the same seed.
"$generate" "$work/model" --prompt Once --tokens 300 --seed 7 >"$work/one" 2>"$work/log"
"$generate" "$work/model" --prompt Once --tokens 300 --seed 7 >"$work/two" 2>/dev/null
"$generate" "$work/model" --prompt Once --tokens 300 --seed 8 >"$work/other" 2>/dev/null
cmp "$work/one" "$work/two" || fail "the same seed gave another text"
cmp -s "$work/one" "$work/other" && fail "another seed gave the same text"
[ "$(wc -c <"$work/one")" -eq 305 ] || fail "not 4 + 300 bytes and a line's end"
[ "$(head -c 4 "$work/one")" = Once ] || fail "the prompt is missing"
grep -q '300 tokens in .* tokens/s' "$work/log" || fail "no speed"
grep -q 'memory: weights .*; a stream .* at any length' "$work/log" || fail "no constant memory"
"$generate" "$work/growing" --tokens 5 >/dev/null 2>"$work/log"
grep -q 'after 6 tokens, and growing' "$work/log" || fail "attention without a window must grow"
"$generate" "$work/window" --tokens 5 >/dev/null 2>"$work/log"
grep -q 'after 6 tokens, and growing' "$work/log" || fail "a window that is not full yet grows"
"$generate" "$work/window" --tokens 50 >/dev/null 2>"$work/log"
grep -q 'at any length' "$work/log" || fail "a window that is full grows no more"

# Greedy text does not depend on the seed.
"$generate" "$work/model" --temperature 0 --seed 1 >"$work/one" 2>/dev/null
"$generate" "$work/model" --top-k 1 --seed 2 >"$work/two" 2>/dev/null
cmp "$work/one" "$work/two" || fail "top-k 1 is not the most likely byte"

# A row an octave; weights that were drawn know nothing, so that a byte takes about 8 bits.
cat "$0" "$0" | head -c 3000 >"$work/text"
"$score" "$work/model" "$work/text" >"$work/rows" 2>"$work/log"
[ "$(wc -l <"$work/rows")" -eq 14 ] || fail "not 12 octaves, a head and a sum"
grep -q '^2048-4095,952,' "$work/rows" || fail "the last octave has 952 of 3000 bytes"
bits=$(sed -n 's/^all,2999,//p' "$work/rows")
awk "BEGIN { exit !($bits > 6 && $bits < 14) }" || fail "$bits bits per byte"
"$score" "$work/model" "$work/text" --length 100 --stretches 4 >"$work/rows" 2>/dev/null
grep -q '^all,396,' "$work/rows" || fail "four stretches of 100 bytes have 396 to predict"

# What is wrong is said, and the programs fail.
"$generate" "$work" 2>"$work/log" && fail "a folder without a model was taken"
grep -q 'config.json' "$work/log" || fail "the missing file is not named"
"$generate" "$work/model" --temperature -1 2>"$work/log" && fail "a temperature of -1 was taken"
grep -q 'temperature is -1' "$work/log" || fail "the temperature is not named"
: >"$work/empty"
"$score" "$work/model" "$work/empty" 2>/dev/null && fail "an empty text was scored"
"$generate" "$work/model" --seed -1 >/dev/null 2>&1 && fail "a seed of -1 was taken"
"$score" "$work/model" "$work/text" --length -1 >/dev/null 2>&1 && fail "a length of -1 was taken"
"$score" "$work/model" "$work/text" --length 1 >/dev/null 2>"$work/log" && fail "nothing was scored"
grep -q 'length is 1' "$work/log" || fail "the length is not named"
"$score" "$work/model" "$work" >/dev/null 2>"$work/log" && fail "a folder was scored"
grep -q "$work: is no regular file" "$work/log" || fail "the folder is not named"
"$score" "$work/model" "$work/none" >/dev/null 2>"$work/log" && fail "a missing file was scored"
grep -q "$work/none: cannot be read" "$work/log" || fail "the missing file is not named"
if [ -w /dev/full ]; then
  "$generate" "$work/model" >/dev/full 2>"$work/log" && fail "generate wrote to a full device"
  grep -q 'standard output cannot be written' "$work/log" || fail "generate does not say so"
  "$score" "$work/model" "$work/text" >/dev/full 2>"$work/log" && fail "score wrote to a full device"
  grep -q 'standard output cannot be written' "$work/log" || fail "score does not say so"
fi

# A text is read in pieces: this one, of holes alone, would fill no memory that there is.
if truncate -s 100G "$work/endless" 2>/dev/null; then
  "$score" "$work/model" "$work/endless" --length 100 --stretches 3 >"$work/rows" 2>/dev/null
  grep -q '^all,297,' "$work/rows" || fail "three stretches of 100 bytes have 297 to predict"
fi
exit 0
