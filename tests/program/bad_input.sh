# SPDX-License-Identifier: MIT
# Malformed input: exit status 2 and a message with file, line and column; or skipped and counted.
. "$(dirname "$0")/helpers.sh"

small="--period none --warm-up 1"

# refuse CONTENT PATTERN ARGUMENT...
refuse() {
  content=$1 pattern=$2
  shift 2
  printf "$content" > in.csv
  # shellcheck disable=SC2086
  expect 2 "^stream_forecast: in.csv:$pattern" $small "$@" in.csv
}

refuse '' '1: the input is empty'
refuse '\n\n' '2: the input is empty'
refuse '\357\273\277' '1: the input is empty'
refuse 'a,b\n' '1: there is no row of data'
refuse 'a,b\n\n\n' '3: there is no row of data'
refuse 'a,b\n1,x\n' "2: column 2 ('b'): 'x' is not a number"
refuse 'a,b\r\n1,2\r\n\r\n1,2x\r\n' "4: column 2 ('b'): '2x' is not a number"
refuse 'a,b\n1,2\n1,0x10\n' "3: column 2 ('b'): '0x10' is not a number"
refuse 'a,b\n1,2\n1,-nan\n' "3: column 2 ('b'): '-nan' is not finite"
refuse 'a,b\n1,2\n1,inf\n' "3: column 2 ('b'): 'inf' is not finite"
refuse 'a,b\n1,1e999\n' "2: column 2 ('b'): '1e999' is not finite"
refuse 'a,b\n1,-1e101\n' "2: column 2 ('b'): '-1e101' is beyond 1e100"
refuse 'a,b\n1,\n' "2: column 2 ('b'): the cell is empty"
refuse 'a,b\n1, ""\n' "2: column 2 ('b'): the cell is empty"
refuse 'a,b\n1,2\n1\n' "3: column 2 ('b'): the row has 1 field, 2 are expected"
refuse 'a,b\n1,2\n1,2,3\n' "3: column 3: the row has 3 fields, 2 are expected"
refuse 'a,b\n1,2\n1,2,' "3: column 3: the row has 3 fields, 2 are expected"
refuse 'a,b\n1,"2\n1,2\n' "2: column 2 ('b'): the quoted field does not end on its line"
refuse 'a,b\n"1"1,2\n' "2: column 1 ('a'): text follows the closing quote"
refuse 'a,"b\n1,2\n' '1: column 2: the quoted field does not end on its line'
refuse 'a,b\n1,2\n' "1: there is no column 'c'; the columns are 'a', 'b'" --target c
refuse 'a,b\n1,2\n' "1: there is no column '3'" --feature 3
refuse 'a,a\n1,2\n' "1: more than one column is called 'a'" --target a
refuse 'a,b\nx,2\n' "2: column 1 ('a'): 'x' is not a number" --feature a
refuse '1,2\n1,x\n' "2: column 2: 'x' is not a number" --no-header
refuse 'a\n1\n2\n3\n1e60\n5\n' '5: too large to calculate with' --scalar float --horizon 1

head -c 1100000 /dev/zero | tr '\0' 7 > long
{ printf 'a\n1\n'; cat long; printf '\n2\n3\n4\n'; } > in.csv
expect 2 '^stream_forecast: in.csv:3: the line is longer than' $small in.csv
"$program" $small --skip-bad-rows in.csv > out 2> err || complain "a long line is not skipped: $(cat err)"
grep -q '^Malformed rows skipped: 1$' out || complain "a long line is not counted"

expect 2 'none.csv: cannot be opened' none.csv
expect 2 'cannot be opened' "$folder"
expect 2 '^stream_forecast: standard input:1: the input is empty' -
seq 20 > in.csv
expect 2 'in.csv: 20 rows are too few to score a forecast' --warm-up 20 --period none --no-header in.csv

# Columns that nobody asked for may hold anything.
printf 'when,a\n"5 June, 00:00",1\n,2\nnan,3\n' > in.csv
# shellcheck disable=SC2086
"$program" $small in.csv > out 2> err || complain "text in other columns: $(cat err)"

# Skipped rows are counted, and are as if they had not been there for a model without a clock.
printf 'a,b\n1,2\nx,y\n1,3\n1\n1,"4\n1,5\n1,nan\n1,7\n' > bad.csv
printf 'a,b\n1,2\n1,3\n1,5\n1,7\n' > good.csv
# shellcheck disable=SC2086
"$program" $small --skip-bad-rows bad.csv --predictions bad.out > out 2> err ||
  complain "bad rows are not skipped: $(cat err)"
grep -q '^Malformed rows skipped: 4$' out || complain "bad rows are not counted"
# shellcheck disable=SC2086
"$program" $small good.csv --predictions good.out > out
cut -d, -f2- bad.out > bad.values
cut -d, -f2- good.out > good.values
cmp -s bad.values good.values || complain "skipped rows change what is forecast"
cut -d, -f1 bad.out | tr '\n' ' ' | grep -q '^row 3 6 8 9 $' || complain "skipped rows do not move the clock"

printf 'a\nx\ny\n' > in.csv
expect 2 'in.csv:3: there is no row of data that is not malformed' --skip-bad-rows in.csv
finish
