# SPDX-License-Identifier: MIT
# Pictures if gnuplot is there; a plain message if not, and never a crash.
. "$(dirname "$0")/helpers.sh"

PATH=/nonexistent "$program" "$taylor" --plot p.png > out 2> err
status=$?
[ "$status" -eq 1 ] || complain "without gnuplot: exit status $status"
grep -q 'gnuplot is not installed' err || complain "without gnuplot: $(cat err)"
grep -q '^log-linear attention' out || complain "without gnuplot: no table"
[ -e p.png ] && complain "without gnuplot: a picture?"

mkdir failing
printf '#!/bin/sh\nexit 3\n' > failing/gnuplot
chmod +x failing/gnuplot
PATH="$folder/failing:$PATH" "$program" "$taylor" --plot p.png > out 2> err
status=$?
[ "$status" -eq 1 ] || complain "with a failing gnuplot: exit status $status"
grep -q 'p.png: gnuplot could not draw it' err || complain "with a failing gnuplot: $(cat err)"

command -v gnuplot > /dev/null || { [ "$failures" -eq 0 ] && exit 77; finish; }
"$program" "$taylor" --plot "it's.png" > out 2> err || complain "PNG: $(cat err)"
[ -s err ] && complain "gnuplot complains: $(cat err)"
head -c 8 "it's.png" | od -An -tx1 | grep -q '89 50 4e 47 0d 0a 1a 0a' || complain "no PNG"
"$program" "$taylor" --plot p.SVG --horizon 48 --period none --plot-rows 100 > out 2> err ||
  complain "SVG: $(cat err)"
grep -q '<svg' p.SVG || complain "no SVG"
grep -q 'forecast 48 rows ahead' p.SVG || complain "no title"
yes 5 | head -n 200 | "$program" --no-header --period none --plot flat.png - > out 2> err ||
  complain "a constant: $(cat err)"
[ -s err ] && complain "gnuplot complains about a constant: $(cat err)"

# gnuplot itself does not tell of a full disk.
for picture in full.png full.svg; do
  (
    trap '' XFSZ
    ulimit -f 16
    "$program" "$taylor" --plot $picture > out 2> err
    [ $? -eq 1 ] && grep -q "$picture: gnuplot could not draw it" err || complain "a full disk: $(cat err)"
    finish
  ) || failures=$((failures + 1))
done
"$program" "$taylor" --plot nowhere/p.png > out 2> err
[ $? -eq 1 ] && grep -q 'nowhere/p.png: gnuplot could not draw it' err || complain "no folder: $(cat err)"
for picture in '~p.png' '|p.png'; do
  "$program" "$taylor" --plot "$picture" > out 2> err || complain "$picture: $(cat err)"
  [ -s "$picture" ] || complain "$picture is not there"
done
finish
