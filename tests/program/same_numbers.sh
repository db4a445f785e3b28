# SPDX-License-Identifier: MIT
# The same data give the same numbers, in whatever form they come; the seed and the precision count.
. "$(dirname "$0")/helpers.sh"

head -n 1001 "$taylor" > plain.csv
"$program" plain.csv --predictions plain.out > /dev/null || complain "the plain file"

# same NAME ARGUMENT...: the predictions of in.csv, or of standard input, are those of plain.csv.
same() {
  name=$1
  shift
  "$program" "$@" --predictions other.out > /dev/null 2> err < in.csv || complain "$name: $(cat err)"
  cmp -s plain.out other.out || complain "$name: other predictions"
}

cp plain.csv in.csv
same 'a second run' in.csv
same 'standard input' -
same 'a target by name' --target demand in.csv
same 'a target by number' --target 2 in.csv
sed 's/$/\r/' plain.csv > in.csv
same 'CRLF' in.csv
head -c -1 plain.csv > in.csv
same 'no newline at the end' in.csv
{ printf '\357\273\277'; cat plain.csv; } > in.csv
same 'a byte-order mark' in.csv
sed 's/^\(.*\),\(.*\)$/"\1", "\2" \n\n/; s/""/"/g' plain.csv > in.csv
same 'quotes, spaces and blank lines' in.csv
tr , ';' < plain.csv > in.csv
same 'semicolons' --delimiter ';' in.csv
tr , '\t' < plain.csv > in.csv
same 'tabs' --delimiter tab in.csv
tail -n +2 plain.csv > in.csv
same 'no header' --no-header in.csv
awk -F, '{ print $2 "," $1 }' plain.csv > in.csv
same 'other order of columns' --target demand in.csv

cp plain.csv in.csv
"$program" --seed 43 --d-k 64 in.csv --predictions a.out > /dev/null
"$program" --seed 44 --d-k 64 in.csv --predictions b.out > /dev/null
cmp -s a.out b.out && complain "the seed changes nothing"

"$program" "$taylor" --predictions a.out > out || complain "double"
double=$(figure 'log-linear attention, mixture' MAPE)
"$program" "$taylor" --scalar float --predictions b.out > out || complain "float"
cmp -s a.out b.out && complain "the precision changes nothing"
single=$(figure 'log-linear attention, mixture' MAPE)
# 3359 updates of a covariance in single precision: the third digit may differ.
holds "($single - $double) ^ 2 < 0.005 ^ 2" "float $single, double $double"
finish
