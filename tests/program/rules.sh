# SPDX-License-Identifier: MIT
# examples/RULES.md is what compare_rules prints, times and the machine left out, and the README has
# its table.
. "$(dirname "$0")/helpers.sh"

"$program" 1 > out || complain "compare_rules"
# plain FILE: all text but the machine, the number of rounds and the columns of figures that vary.
plain() {
  sed 's/^Made by .*//; s/quartile of [0-9]* rounds/quartile/' "$1" |
    awk -F'|' '/^[|]/ { print $2, $3, $4, $5; next } { print }'
}
# worth FILE: four figures a line, one step and one day ahead, one state and log-linear.
worth() {
  awk -F'|' '/^[|] \[?`/ { gsub("/", " "); print $7, $8 } /^[|] least/ { print $7, $7, $8, $8 }' "$1"
}
# table FILE: what stands between the two marks.
table() {
  sed -n '/^<!-- table of rules/,/^<!-- end of the table of rules/p' "$1"
}
examples=$(dirname "$taylor")/..
written=$examples/RULES.md
plain "$written" > written.plain
plain out > printed.plain
cmp -s written.plain printed.plain ||
  complain "RULES.md is out of date, run examples/compare: $(diff written.plain printed.plain)"
worth "$written" > written.worth
worth out > printed.worth
[ "$(wc -l < printed.worth)" -eq 19 ] || complain "not every mode is there"
# Compilers round differently.
paste written.worth printed.worth | awk '
  { for (i = 1; i <= 4; i++) if (NF != 8 || ($i - $(i + 4)) ^ 2 > 0.003 ^ 2) exit 1 }' ||
  complain "RULES.md has other figures: $(paste written.worth printed.worth)"
# The README copies names and updates.
table "$written" | awk -F'|' '/^[|]/ { if ($3 ~ /[^ ]/) print "|" $2 "|" $3 "|"; next } { print }' > rules.table
table "$examples/../README.md" > readme.table
[ "$(grep -c '^|' rules.table)" -eq 20 ] || complain "no table of rules between the marks"
cmp -s rules.table readme.table ||
  complain "README.md has another table, run examples/compare: $(diff rules.table readme.table)"
# What the table is read for: a day ahead rules that erase under their key beat least squares; one step
# ahead, where those have the seasonal lags, no rule is worth more than some 1 %.
squares=$(grep '^| least squares' out | cut -d'|' -f7-8 | tr '|' ' ')
for mode in DeltaNet GatedDeltaNet RWKV7 DeltaProduct; do
  line=$(grep "^| \[.$mode" out | cut -d'|' -f8 | cut -d/ -f2)
  holds "$line < ${squares#*0.* }" "$mode"
done
grep '^| \[' out | cut -d'|' -f7 | cut -d/ -f2 | while read -r step; do
  awk "BEGIN { exit !(($step / ${squares%% 1.*} - 1) ^ 2 < 0.015 ^ 2) }" || echo "$step"
done > apart
[ ! -s apart ] || complain "one step ahead: $(cat apart)"
"$program" 0 > /dev/null 2> err
[ $? -eq 2 ] && grep -q usage err || complain "0 rounds"
finish
