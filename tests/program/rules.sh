# SPDX-License-Identifier: MIT
# examples/RULES.md is what compare_rules prints, times and the machine left out.
. "$(dirname "$0")/helpers.sh"

"$program" 1 > out || complain "compare_rules"
# plain FILE: the table without times and the worth on the stream; worth FILE: that worth alone.
plain() {
  awk -F'|' '/^[|]/ { print $2, $3, $4, $5, $6 }' "$1"
}
worth() {
  awk -F'|' '/^[|] (`|least)/ { print $9, $10, $11, $12 }' "$1"
}
written=$(dirname "$taylor")/../RULES.md
plain "$written" > written.plain
plain out > printed.plain
cmp -s written.plain printed.plain || complain "RULES.md is out of date: run examples/compare"
worth "$written" > written.worth
worth out > printed.worth
[ "$(wc -l < printed.worth)" -eq 15 ] || complain "not every mode is there"
# Compilers round differently.
paste written.worth printed.worth | awk '
  { for (i = 1; i <= 4; i++) if (NF != 8 || ($i - $(i + 4)) ^ 2 > 0.003 ^ 2) exit 1 }' ||
  complain "RULES.md has other figures: $(paste written.worth printed.worth)"
# What the table is read for: forgetting rules with keys beat least squares one step ahead.
for mode in gla_vector gated_delta_net rwkv7 delta_product; do
  line=$(grep "^| .$mode" out | cut -d'|' -f10)
  holds "$line < 0.40" "$mode"
done
"$program" 0 > /dev/null 2> err
[ $? -eq 2 ] && grep -q usage err || complain "0 rounds"
finish
