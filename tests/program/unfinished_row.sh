# SPDX-License-Identifier: MIT
# A last row without its end: a run uses it, a checkpoint does not hold it, and who goes on reads it
# again, whole.
. "$(dirname "$0")/helpers.sh"

set -- --period 48:4 --warm-up 100
head -n 1201 "$taylor" > whole.csv
"$program" whole.csv "$@" --predictions whole.out > out || complain "the whole file"
sed -n '/^Forecasts/,$p' out | sed 's/ *[0-9.e+]*$//' > whole.table

# same_end NAME: predictions and table of the file read at once.
same_end() {
  cmp -s whole.out part.out || complain "$1: other predictions"
  sed -n '/^Forecasts/,$p' out | sed 's/ *[0-9.e+]*$//' | cmp -s - whole.table || complain "$1: another table"
}
# go NAME INPUT ARGUMENT...: one run of several, that must succeed.
go() {
  name=$1
  shift
  "$program" "$@" > out 2> err || complain "$name: exit status $?: $(cat err)"
}

# A whole file without a last line end is used to its end, saved or not; and again by who goes on.
head -c -1 whole.csv > in.csv
go 'at once' in.csv "$@" --predictions part.out
same_end 'at once'
go 'saved' in.csv "$@" --predictions part.out --save s
[ -s err ] && complain "a whole last row: $(cat err)"
same_end 'saved'
go 'loaded' in.csv "$@" --predictions part.out --load s --save s
same_end 'loaded'
go 'loaded, not saved' in.csv "$@" --predictions part.out --load s
same_end 'loaded, not saved'
go 'standard input' - "$@" --predictions part.out < in.csv
same_end 'standard input'
go 'saved from standard input' - "$@" --predictions part.out --save s < in.csv
same_end 'saved from standard input'
# Nobody counts the row twice: not after its end has come, nor when only the header comes.
go 'its end' whole.csv "$@" --predictions part.out --load s
same_end 'its end'
head -n 1 whole.csv > header
go 'only a header' - "$@" --predictions part.out --load s --save s < header
same_end 'only a header'

# A file that grows by parts of rows.
bytes=$(wc -c < whole.csv)
for ending in LF CRLF; do
  [ $ending = LF ] && cp whole.csv all.csv || sed 's/$/\r/' whole.csv > all.csv
  bytes=$(wc -c < all.csv)
  rm -f part.out s
  load=
  for size in 3000 3001 3002 3003 3004 3005 3006 3007 3008 3009 3010 3011 3012 7001 $((bytes - 1)) "$bytes"; do
    head -c "$size" all.csv > in.csv
    # shellcheck disable=SC2086
    go "$ending, $size bytes" in.csv "$@" --predictions part.out --save s $load --save-every 17
    load='--load s'
  done
  same_end "a file that grows, $ending"
done

# The checkpoint is the same whatever follows the last row that has its end.
head -n 900 whole.csv > in.csv
go 'whole rows' in.csv "$@" --save s.whole
sed -n 901p whole.csv | grep -q '^900,3' || complain "the test: row 900 is another one"
{ cat in.csv; printf '900,3'; } > half.csv
go 'half a number' half.csv "$@" --save s.half
cp whole.csv in.csv
for saved in s.whole s.half; do
  go "$saved" in.csv "$@" --load $saved
  sed -n '/^Forecasts/,$p' out | sed 's/ *[0-9.e+]*$//' | cmp -s - whole.table || complain "$saved: half a number was learnt"
done

# Half a row that is not yet a row, with and without --skip-bad-rows, is nobody's error when it is
# left to the next run; without a checkpoint it is.
{ head -n 900 whole.csv; printf '900'; } > half.csv
for skip in '' --skip-bad-rows; do
  # shellcheck disable=SC2086
  go 'half a row' half.csv "$@" $skip --predictions part.out --save s
  grep -q 'half.csv:901: column 2 .*it is left to the run that goes on' err || complain "half a row: $(cat err)"
  grep -q '^Malformed' out && complain "half a row was counted"
  # shellcheck disable=SC2086
  go 'half a row, whole' whole.csv "$@" $skip --predictions part.out --load s
  same_end "half a row, then whole $skip"
done
expect 2 'half.csv:901: column 2 .*the row has 1 field, 2 are expected; the input ends within this row' half.csv "$@"
"$program" half.csv "$@" --skip-bad-rows > out 2> err || complain "half a row, skipped: $(cat err)"
grep -q '^Malformed rows skipped: 1$' out || complain "half a row was not counted"

# Pieces on standard input, the last row of each without its end. The next begins after it, or with it.
for with in after it; do
  rm -f part.out s
  load=
  first=2
  for last in 300 301 777 1201; do
    [ $with = it ] && [ $first -gt 2 ] && first=$((first - 1))
    { head -n 1 whole.csv; sed -n "${first},${last}p" whole.csv; } | head -c -1 > piece
    # shellcheck disable=SC2086
    go "pieces, $with" - "$@" --predictions part.out --save s $load < piece
    load='--load s'
    first=$((last + 1))
  done
  same_end "pieces, $with"
done
rm -f part.out
{ head -n 300 whole.csv; sed -n 301p whole.csv | head -c 6; } > piece
go 'half a row on standard input' - "$@" --predictions part.out --save s < piece
{ head -n 1 whole.csv; sed -n '301,$p' whole.csv; } > piece
go 'half a row on standard input, whole' - "$@" --predictions part.out --load s < piece
same_end 'half a row on standard input'
# The first row may be half of one, too. Without a header it does not say how many columns there are.
awk 'NR > 1 { print NR ",7," $1 }' whole.csv > bare.csv
for skipping in '' --skip-bad-rows; do
  for part in '2,7' '2' '2,7,1'; do
    # shellcheck disable=SC2086
    go 'without a header' bare.csv --no-header $skipping "$@" --predictions bare.out
    printf %s "$part" > in.csv
    rm -f part.out s
    # shellcheck disable=SC2086
    "$program" in.csv --no-header $skipping "$@" --predictions part.out --save s > out 2> err
    grep -q 'too few to score' err || complain "half a first row, $part: $(cat err)"
    cp s s.kept
    # shellcheck disable=SC2086
    go "the first row, from $part" bare.csv --no-header $skipping "$@" --predictions part.out --load s --save s
    cmp -s bare.out part.out || complain "the first row, from $part: other predictions"
    # shellcheck disable=SC2086
    go "the first row, from $part and standard input" - --no-header $skipping "$@" --predictions part.out --load s.kept < bare.csv
    cmp -s bare.out part.out || complain "the first row, from $part and standard input: other predictions"
  done
done

finish
