# SPDX-License-Identifier: MIT
# Tables as other programs write them are read as what they say, or are refused with what to do.
. "$(dirname "$0")/helpers.sh"

small="--period none --warm-up 5"
seq 60 | sed 's/.*/&,&/; 1i t,a' > plain.csv
# shellcheck disable=SC2086
"$program" $small plain.csv --predictions plain.out > out || complain "the plain file"

# same NAME ARGUMENT...: in.csv gives the predictions of plain.csv.
same() {
  name=$1
  shift
  # shellcheck disable=SC2086
  "$program" $small "$@" in.csv --predictions other.out > out 2> err || complain "$name: $(cat err)"
  cmp -s plain.out other.out || complain "$name: other predictions"
}
# hint PATTERN ARGUMENT...: in.csv is refused in few words.
hint() {
  advice=$1
  shift
  for skip in '' --skip-bad-rows; do
    # shellcheck disable=SC2086
    expect 2 "^stream_forecast: in.csv:.*$advice" $small $skip "$@" in.csv
    [ "$(wc -c < err)" -lt 400 ] || complain "a message of $(wc -c < err) bytes"
  done
}

for end in '\032' '\r\n\032' '\032\r\n' '\032\032\032' '\n\032\n\n'; do
  { head -c -1 plain.csv; printf "$end"; } > in.csv
  same "a final ^Z: $end"
done
tr , '\t' < plain.csv > in.csv
same 'tabs' --delimiter '\t'
sed 's/^\([0-9]*\),/"day\n\1",/' plain.csv > in.csv
same 'line ends in quotes'
sed 's/^\([0-9]*\),/"\1\nof ""60""\n",/' plain.csv > in.csv
same 'line ends in quotes' --skip-bad-rows
grep -q '^Malformed' out && complain "a row of several lines is malformed: $(cat out)"
sed 1d plain.csv > in.csv
same 'no header' --no-header
same 'no header, skipping' --no-header --skip-bad-rows

# Rows of empty cells move the clock, whatever stands between them.
for delimiter in , ';' tab ' '; do
  character=$delimiter
  [ "$delimiter" = tab ] && character='\t'
  sed '20s/.*/,/; 30s/.*/,/' plain.csv | tr , "$character" > in.csv
  # shellcheck disable=SC2086
  "$program" $small --skip-bad-rows --delimiter "$delimiter" in.csv --predictions "other.out" > out 2> err ||
    complain "empty cells: $(cat err)"
  grep -q '^Malformed rows skipped: 2$' out || complain "empty cells between '$delimiter': $(cat out)"
  [ "$(tail -n 1 other.out | cut -d, -f1)" -eq 61 ] || complain "empty cells between '$delimiter' do not move the clock"
  # shellcheck disable=SC2086
  expect 2 "in.csv:20: column 2 ('a'): the cell is empty" $small --delimiter "$delimiter" in.csv
done

# A bad first row is one bad row.
for first in '7' '"7,7' '7,"7"x' '7,7,7' ',' '# a remark, or two, or three'; do
  { printf '%s\n' "$first"; sed 1d plain.csv; } > in.csv
  # shellcheck disable=SC2086
  "$program" $small --no-header --skip-bad-rows in.csv > out 2> err || complain "first row $first: $(cat err)"
  grep -q '^Malformed rows skipped: 1$' out && grep -q ', 60 rows read' out || complain "first row $first: $(cat out)"
done
# A run that goes on knows the columns from the one before.
sed 1d plain.csv > in.csv
# shellcheck disable=SC2086
"$program" $small --no-header --skip-bad-rows in.csv --save s > out || complain "saving without a header"
# shellcheck disable=SC2086
printf '61\n62,62\n' | "$program" $small --no-header --skip-bad-rows - --load s > out 2> err || complain "$(cat err)"
grep -q ', 61 rows read' out && grep -q '^Malformed rows skipped: 1$' out || complain "a short piece: $(cat out)"

# A row of two lines counts once, good or bad.
sed '20s/,.*/,"no\nnumber"/; 30s/^/"the\nday ", /; 30s/, .*,/,/' plain.csv > in.csv
# shellcheck disable=SC2086
"$program" $small --skip-bad-rows in.csv > out 2> err || complain "two lines: $(cat err)"
grep -q '^Malformed rows skipped: 1$' out || complain "a row of two lines: $(cat out)"
sed '30s/$/x/' in.csv > other.csv
# shellcheck disable=SC2086
expect 2 "other.csv:20: column 2 ('a'): 'no?number' is not a number" $small other.csv

# What to do with other text.
tr , ';' < plain.csv > in.csv
hint "if ';' separates the fields, say --delimiter ';'"
hint "if ';' separates the fields, say --delimiter ';'" --no-header
sed 's/,/,5;/; s/$/,5/; 1s/.*/t;a/' plain.csv > in.csv
hint "if ';' separates the fields, say --delimiter ';'"
hint "write it with a decimal point" --delimiter ';'
tr , '\t' < plain.csv > in.csv
hint "if tabs separate the fields, say --delimiter tab"
iconv -f UTF-8 -t UTF-16 plain.csv > in.csv 2> err && {
  hint 'the input is UTF-16, not UTF-8'
  hint 'the input is UTF-16, not UTF-8' --no-header
  iconv -f UTF-8 -t UTF-16LE plain.csv > in.csv
  hint 'iconv -f UTF-16LE -t UTF-8'
  hint 'UTF-16' --no-header
  iconv -f UTF-8 -t UTF-16BE plain.csv > in.csv
  hint 'UTF-16'
}
tr '\n' '\r' < plain.csv > in.csv
hint 'if lines end in a carriage return alone'
hint 'if lines end in a carriage return alone' --no-header
awk 'BEGIN { for (i = 0; i < 80000; ++i) printf "%sc%d", i ? "," : "", i; print "\n1" }' > in.csv
hint "the row has 1 field, 80000 are expected"
hint "there is no column 'none'; the columns are 'c0', .* and 79992 more" --target none
finish
