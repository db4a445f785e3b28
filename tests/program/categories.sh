# SPDX-License-Identifier: MIT
# shellcheck disable=SC2086  # $late is a list of arguments
# Keys of columns and seasons, slots that are taken as they come and then shared, and labels that
# arrive by a time column.
. "$(dirname "$0")/helpers.sh"

# Six shops whose level drifts and differs by the hour: columns of text, times and late labels.
awk 'BEGIN {
  print "minute,shop,kind,sold,known"
  for (t = 1; t <= 3000; t++) {
    r = (t * 7919) % 10007
    minute += r % 9
    shop = r % 6
    hour = int(minute / 60) % 24
    sold = 10 * shop + (hour + 3 * shop) % 24 + 4 * sin(t / 300 + shop) + r % 3
    printf "%d,shop %c,%s,%.3f,%d\n", minute, 65 + shop, r % 2 ? "odd" : "", sold, minute + r % 400
  }
}' > shops.csv
late='shops.csv --target sold --time minute --label-time known --period 1440:2 --lags 0 --forgetting 1'

# better NAME BY: its error in the second half is that much of that of least squares alone.
better() {
  holds "$(figure "$1" 2nd) < $2 * $(figure 'least squares alone' 2nd)" "$1"
}
"$program" $late --category shop --category 'shop*@1440/24' --predictions p.csv > out 2> err ||
  complain "late labels: $(cat err)"
for model in 'log-linear attention, cascade' 'linear attention, one state' 'bank of 5 decays'; do
  better "$model" 0.5
done
grep -q '^Forecasts by the time of the label: 2000 scored' out || complain "$(grep Forecasts out)"
# Forecasts are written when their labels are known, in that order; each row has one.
awk -F, 'NR == FNR { if (FNR > 1) known[FNR - 1] = $5; next }
  FNR > 1 { if (known[$1] < last || seen[$1]++) exit 1; last = known[$1]; n++ }
  END { exit n != 3000 }' shops.csv p.csv || complain "the order of late labels"

# No forecast knows a label before its time: another value for each that was not known at row 2500.
awk -F, -v OFS=, 'NR == FNR { if (FNR == 2501) now = $1; next }
  FNR > 1 && ($5 > now || FNR > 2501) { $4 = 100 - $4 } { print }' shops.csv shops.csv > other.csv
"$program" other.csv ${late#shops.csv} --category shop --category 'shop*@1440/24' --predictions q.csv > out ||
  complain "another future"
for file in p q; do
  awk -F, '$1 <= 2500 { $2 = $NF = ""; print }' $file.csv | sort > $file.past
done
cmp -s p.past q.past || complain "a label was known before its time"
cmp -s p.csv q.csv && complain "the future does not matter at all"

# A key is a value, whatever it is called; a pair of columns is not their texts side by side.
sed 's/shop A/Ä ", /; s/^\([0-9]*\),\([^,]*", \),/\1,"Ä "", ",/' shops.csv > renamed.csv
# same NAME ARGUMENT...: as many categories, the same forecasts as p.csv.
same() {
  name=$1
  shift
  "$program" "$@" --predictions q.csv > out 2> err || complain "$name: $(cat err)"
  cmp -s p.csv q.csv || complain "$name: other forecasts"
}
same 'other names' renamed.csv ${late#shops.csv} --category shop --category 'shop*@1440/24'
same 'the order of factors' $late --category shop --category '@1440/24*2'
same 'room for all' $late --category shop --category 'shop*@1440/24' --slots 144

# With too few slots values share them: worse, and still no more than those slots.
"$program" $late --category shop --category 'shop*@1440/24' > out || complain "all slots"
free=$(figure 'log-linear attention, cascade' 2nd)
"$program" $late --category shop --category 'shop*@1440/24' --slots 3 --save s > out || complain "three slots"
holds "$(figure 'log-linear attention, cascade' 2nd) > 1.2 * $free" "three slots"
grep -a -o '"keys.category0.hashes":{[^}]*"shape":\[3,2\]' s > /dev/null || complain "more than three slots"
grep -a -o '"cascade.memory.cascade1.slots":' s > /dev/null || complain "the test: no slots in the checkpoint"

# Every row alike: a single key.
"$program" $late --category kind --slots 1 > out || complain "one slot"

# What is wrong is refused by name.
both='--time and --label-time need each other'
expect 2 "$both" shops.csv --time minute
expect 2 "$both" shops.csv --label-time known
expect 2 '--horizon: with --label-time' $late --horizon 2
expect 2 '--season: with --label-time' $late --season 7
expect 2 '--seasonal-lag: with --label-time' $late --seasonal-lag 7
expect 2 "no column 'none'; the columns are 'minute', 'shop'" $late --category none
for wrong in '' '*' 'shop*' '@1' '@48/0' '@48/49' '@48/' '@x' 'shop**kind' '@1000001'; do
  expect 2 "--category" $late --category="$wrong"
done
for option in inner=gla key-period=1440 d-k=3 d-v=2 recency=1 learning-rate=0.1 seed=3; do
  expect 2 "--${option%=*} is of the layer, which --category leaves out" $late --category shop "--$option"
done
for option in slots kappa decay levels state-decay seasonal-lag; do
  for value in x '' nan inf -1e30 1e30 0; do
    expect 2 "^stream_forecast: .*--$option" "--$option=$value"
  done
done
expect 2 '--seasonal-lag: 7 is below the horizon, 8' --horizon 8 --seasonal-lag 7
expect 2 '--decay: each may be given once' --decay 0.5 --decay 0.9 --decay 0.5
expect 2 '--seasonal-lag none allows no other' --seasonal-lag none --seasonal-lag 7

# refuse LINE COLUMN VALUE PATTERN: that cell of the file is another.
refuse() {
  awk -F, -v OFS=, -v n="$1" -v c="$2" -v v="$3" 'NR == n { $c = v } { print }' shops.csv > wrong.csv
  expect 2 "^stream_forecast: wrong.csv:$1: column $4" wrong.csv ${late#shops.csv} --category shop
}
refuse 700 1 0 "'minute': 0 is before [0-9]*, the time of the row before"
refuse 700 1 -3 "'minute': -3 is not a whole number from 0"
refuse 700 1 0.5 "'minute': 0.5 is not a whole number"
refuse 700 1 1e17 "'minute': .* is not a whole number from 0 to 2^52"
refuse 700 5 1 "'known': 1 is before [0-9]*, the time of its row"
refuse 700 1 x "1 ('minute'): 'x' is not a number"
"$program" wrong.csv ${late#shops.csv} --skip-bad-rows > out 2> err || complain "a bad time: $(cat err)"
grep -q '^Malformed rows skipped: 1$' out || complain "a bad time is not counted"
finish
