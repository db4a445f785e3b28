# SPDX-License-Identifier: MIT
# A run that is killed and resumed ends with the predictions and the table of an undisturbed one.
. "$(dirname "$0")/helpers.sh"

# The shipped series twice over, with columns for keys and late labels, and with a malformed row
# here and there.
for i in 1 2; do tail -n +2 "$taylor"; done |
  awk -F, -v OFS=, '
    NR == 1 { print "time,known,hour,day,t,demand" }
    NR % 1500 == 700 { print "x,y" }
    { print NR, NR + NR * 7 % 5, "h" int(NR / 2) % 24, int(NR / 48) % 7, $1, $2 }' > long.csv

# without_speed: the table but for its column of speeds, which differs from run to run.
without_speed() {
  sed -n '/^Malformed/,$p' "$1" | sed 's/ *[0-9.e+]*$//'
}

# undisturbed ARGUMENT...: whole.csv and whole.table are what the runs below must end with.
undisturbed() {
  "$program" long.csv --skip-bad-rows "$@" --predictions whole.csv > out 2> err ||
    complain "$*: $(cat err)"
  without_speed out > whole.table
}
same_end() {
  cmp -s whole.csv part.csv || complain "$*: other predictions"
  without_speed out > part.table
  cmp -s whole.table part.table || complain "$*: another table: $(diff whole.table part.table)"
}

# Killed again and again, at moments that have nothing to do with its own.
random() {
  od -An -N2 -tu2 /dev/urandom | tr -d ' '
}
killed=0
for more in "--decay 0.9" '--scalar float --inner gla(gate_bias=5) --horizon 48 --feature t --learning-rate 0.001 --decay 0.8' \
  '--inner delta_product(gate_bias=8) --warm-up 5000 --decay 0.9' \
  '--category hour*day --category @48 --time time --label-time known --slots 40 --decay 0.9'; do
  # shellcheck disable=SC2086
  set -- $more
  undisturbed "$@"
  rm -f part.csv part.save
  runs=0
  while :; do
    load=
    [ -e part.save ] && load='--load part.save'
    # shellcheck disable=SC2086
    "$program" long.csv --skip-bad-rows "$@" --predictions part.csv --save part.save \
      --save-every 150 $load > out 2> err &
    process=$!
    runs=$((runs + 1))
    if [ "$runs" -le 8 ]; then
      sleep "0.$(printf %03d $((20 + $(random) % 130)))"
      kill -KILL $process 2> /dev/null
    fi
    wait $process 2> /dev/null
    status=$?
    [ "$status" -eq 137 ] && killed=$((killed + 1)) && continue
    [ "$status" -eq 0 ] || complain "$*: exit status $status: $(cat err)"
    break
  done
  same_end "$@"
done
[ "$killed" -ge 5 ] || complain "only $killed runs were killed before their end"

# The input in pieces on standard input, each with the header; the last save is where the next
# begins, also within the warm-up.
undisturbed
head -n 1 long.csv > header
rm -f part.csv part.save
load=
for lines in 2,400 401,401 402,2000 2001,5000 '5001,$'; do
  # shellcheck disable=SC2086
  { cat header; sed -n "${lines}p" long.csv; } |
    "$program" - --skip-bad-rows --predictions part.csv --save part.save $load > out 2> err
  load='--load part.save'
done
same_end 'in pieces'

# What does not fit is refused.
head -n 1500 "$taylor" > short.csv
"$program" short.csv --predictions p.csv --save s > out || complain "a short run"
cp p.csv kept.csv
refuses() {
  pattern=$1
  shift
  expect 2 "^stream_forecast: .*$pattern" short.csv --load s "$@"
}
refuses 'task.horizon is "1"; it must be "2"' --horizon 2
refuses 'task.inner is .*; it must be "log_linear(gla' --inner gla
refuses 'task.scalar is "double"; it must be "float"' --scalar float
refuses 'task.features is absent; it must be "t"' --feature t
refuses 's: cannot take both' --save s --predictions s
refuses 'short.csv: is the input itself' --save ./short.csv
expect 2 '--save-every needs --save' short.csv --save-every 10
expect 2 'none.save: cannot be opened for reading' short.csv --load none.save
expect 2 'short.csv: the header' short.csv --load short.csv
head -c 20000 s > cut
expect 2 '^stream_forecast: loglinear: cut: ' short.csv --load cut
sed '2s/$/     /' short.csv > other.csv
expect 2 'other.csv:1500: no line ends at byte' other.csv --load s
head -n 1400 short.csv > other.csv
expect 2 'other.csv:1400: no line ends at byte' other.csv --load s
head -n 20 kept.csv > p.csv
refuses 'p.csv: is shorter than when the checkpoint was made' --predictions p.csv
[ "$(wc -l < p.csv)" -eq 20 ] || complain "predictions that are too short were touched"

# Where it cannot be written the run goes on, says so and fails; an old checkpoint stays as it was.
cp s old
expect 1 's.tmp: cannot be opened for writing' short.csv --save nowhere/s
grep -q '^log-linear attention' out || complain "no table without a checkpoint"
(
  trap '' XFSZ
  ulimit -f 4
  expect 1 's.tmp: cannot be written: File too large' short.csv --load s --save s --save-every 10
  finish
) || failures=$((failures + 1))
cmp -s s old || complain "a checkpoint that could not be written spoilt the old one"
[ ! -e s.tmp ] || complain "a checkpoint that could not be written was left behind"

# Predictions that cannot be written stop the saving: the next run must find what had been written.
set -- --period none --lags 1 --d-v 1 --decay 0.9 --inner 'log_linear(gla, max_levels=2)'
"$program" "$taylor" "$@" --predictions whole.csv > out || complain "a small layer"
head -n 801 "$taylor" > short.csv
"$program" short.csv "$@" --predictions p.csv --save s > out || complain "a small layer, saved"
[ "$(wc -c < s)" -lt 98304 ] || complain "the test: the checkpoint is too large"
(
  trap '' XFSZ
  ulimit -f 200
  expect 1 'p.csv: cannot be written, so nothing is saved' "$taylor" "$@" --predictions p.csv --load s --save s
  finish
) || failures=$((failures + 1))
"$program" "$taylor" "$@" --predictions p.csv --load s > out 2> err || complain "$(cat err)"
cmp -s whole.csv p.csv || complain "predictions were lost when the disk was full"
finish
