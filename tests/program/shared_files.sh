# SPDX-License-Identifier: MIT
# No file that is written is another one, too, by whatever name: refused, with names, before
# anything is written.
. "$(dirname "$0")/helpers.sh"

small="--period none --warm-up 5"
seq 60 | sed '1i a' > in.csv
# shellcheck disable=SC2086
"$program" $small in.csv --save q --predictions q.csv > out || complain "a short run"
cp q q.kept
cp in.csv in.kept
mkdir folder
ln -s folder linked

# untouched: neither the input nor the checkpoint has changed, and nothing new is there.
ls > list.kept
untouched() {
  cmp -s in.csv in.kept || { complain "$*: the input was written to"; cp in.kept in.csv; }
  cmp -s q q.kept || { complain "$*: the checkpoint was written to"; cp q.kept q; }
  ls | cmp -s - list.kept || complain "$*: there are new files: $(ls | diff - list.kept)"
  [ -z "$(ls folder)" ] || complain "$*: there are new files: $(ls folder)"
}
touch out err && ls > list.kept && ls > list.kept

# refuse PATTERN ARGUMENT...
refuse() {
  pattern=$1
  shift
  # shellcheck disable=SC2086
  expect 2 "^stream_forecast: $pattern" $small in.csv "$@"
  untouched "$@"
}
# link NAME TARGET and hard NAME TARGET: a link to refuse once, with the files that are kept.
link() { ln -s "$2" "$1" && ls > list.kept; }
hard() { ln "$2" "$1" && ls > list.kept; }
unlinked() { rm -f "$@" && ls > list.kept; }

# Two outputs that are not there yet.
both='cannot take both predictions and checkpoints'
refuse "x: $both: x (--save) and x (--predictions) are one file" --predictions x --save x
refuse "x: $both" --predictions ./x --save x
refuse "./folder/..//x: $both" --predictions x --save ./folder/..//x
refuse "x: $both" --predictions "$PWD/x" --save x
refuse "linked/x: $both" --predictions folder/x --save linked/x
refuse "nowhere/./x: $both" --predictions nowhere/x --save nowhere/./x
refuse "./x.png: cannot take both predictions and the plot" --predictions x.png --plot ./x.png
refuse "x.svg: cannot take both the plot and checkpoints" --plot x.svg --save x.svg
link dangling folder/x
refuse "folder/x: $both: folder/x (--save) and dangling (--predictions)" --predictions dangling --save folder/x
refuse "dangling: $both" --predictions linked/x --save dangling
link twice.png dangling
refuse "twice.png: cannot take both predictions and the plot" --predictions folder/x --plot twice.png
link absolute.png "$PWD/folder/x"
refuse "absolute.png: cannot take both the plot and checkpoints\|dangling: cannot" --plot absolute.png --save dangling
unlinked dangling twice.png absolute.png
# The checkpoint is first written beside the old one.
refuse 'x.tmp: cannot take both predictions and new checkpoints' --predictions x.tmp --save x
link dangling folder/x
refuse 'folder/x.tmp: cannot take both predictions and new checkpoints' --predictions linked/x.tmp --save dangling
unlinked dangling

# Two that are there.
echo old > x
hard y x
link z.png y
refuse "y: $both" --predictions x --save y
refuse "z.png: cannot take both predictions and the plot" --predictions x --plot z.png
refuse "y: cannot take both the plot and checkpoints" --plot z.png --save y
[ "$(cat x)" = old ] || complain "an output was written to: $(cat x)"
unlinked x y z.png

# The input.
refuse './in.csv: is the input itself: ./in.csv (--predictions) and in.csv (the input)' --predictions ./in.csv
refuse 'in.csv: is the input itself' --save in.csv
hard hard.png in.csv
link soft in.csv
refuse 'hard.png: is the input itself' --plot hard.png
refuse 'soft: is the input itself' --predictions soft
refuse 'soft: is the input itself' --save soft
unlinked hard.png soft
# shellcheck disable=SC2086
"$program" $small - --predictions in.csv < in.csv > out 2> err && complain "standard input was written to"
grep -q 'in.csv: is the input itself: in.csv (--predictions) and standard input' err || complain "$(cat err)"
untouched 'standard input'
# shellcheck disable=SC2086
"$program" $small /dev/stdin --save in.csv < in.csv > out 2> err && complain "/dev/stdin was written to"
untouched '/dev/stdin'
cp in.csv s.tmp
# shellcheck disable=SC2086
expect 2 's.tmp: is the input itself' $small s.tmp --save s
cmp -s in.csv s.tmp || complain "an input that is called as a new checkpoint was written to"
rm s.tmp

# The checkpoint to load; that may be saved to, again.
refuse 'q: is the checkpoint to load: q (--predictions) and q (--load)' --load q --predictions q
refuse './q: is the checkpoint to load' --load q --predictions ./q
link q.png q
refuse 'q.png: is the checkpoint to load' --load q --plot q.png
refuse 'q: cannot take both' --load q --save q --predictions q
unlinked q.png
cp q x.tmp && ls > list.kept
refuse 'x.tmp: is the checkpoint to load' --load x.tmp --save x
unlinked x.tmp

# Standard output takes the table.
for output in --predictions --save; do
  for name in /dev/stdout /dev/fd/1 out; do
    # shellcheck disable=SC2086
    "$program" $small in.csv $output $name > out 2> err
    [ $? -eq 2 ] || complain "$output $name: standard output is written to twice"
    grep -q "$name: takes what the program says: .* and standard output are one file" err || complain "$(cat err)"
  done
done
# shellcheck disable=SC2086
"$program" $small in.csv --predictions /dev/stdout 2> err | cat > piped
grep -q '/dev/stdout: takes what the program says' err || complain "$(cat err)"
[ -s piped ] && complain "predictions in a pipe with the table"
# shellcheck disable=SC2086
"$program" $small in.csv --predictions err > out 2> err
[ $? -eq 2 ] || complain "standard error is written to twice"

# What is no conflict runs: devices, other files of one name, a checkpoint saved where it was loaded.
mkdir -p other
for arguments in '--predictions /dev/null' '--predictions a.csv --save a' \
  '--predictions folder/a --save other/a' '--load q --save q' '--load q --save ./q --predictions a.csv'; do
  # shellcheck disable=SC2086
  "$program" $small in.csv $arguments > /dev/null 2> err || complain "$arguments: $(cat err)"
done

# A folder that is not there, and a full disk.
# shellcheck disable=SC2086
expect 2 'nowhere/p.csv: cannot be written' $small in.csv --predictions nowhere/p.csv
if command -v gnuplot > /dev/null; then
  # shellcheck disable=SC2086
  expect 1 'nowhere/p.png: gnuplot could not draw it' $small in.csv --plot nowhere/p.png
fi
# A file that is opened where standard output or standard error is closed is not that stream.
# shellcheck disable=SC2086
"$program" $small in.csv --predictions right > out 2> err || complain "$(cat err)"
# shellcheck disable=SC2086
"$program" $small - --predictions p < in.csv >&- 2> err && complain "standard output is closed: exit status 0"
cmp -s right p || complain "standard output is closed, and the predictions have what it would say"
# shellcheck disable=SC2086
"$program" $small - --predictions p < in.csv > out 2>&- || complain "standard error is closed: exit status $?"
cmp -s right p || complain "standard error is closed, and the predictions are others"
# shellcheck disable=SC2086
"$program" $small in.csv --predictions p <&- >&- 2>&- && complain "all is closed: exit status 0"
cmp -s right p || complain "all is closed, and the predictions are others"

finish
