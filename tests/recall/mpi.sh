# SPDX-License-Identifier: MIT
# A training that the ranks of MPI share has the losses of one process to rounding; one of whose
# ranks is killed ends with a message, and another number of ranks goes on from its checkpoint:
# sh mpi.sh [RECALL MPIEXEC NUMPROC_FLAG]
. "$(dirname "$0")/helpers.sh"
if [ $# -lt 3 ]; then
  echo "skipped: no MPI (Debian: libopenmpi-dev openmpi-bin)"
  exit 77
fi
mpiexec=$2 flag=$3

# Steps so small that a rounding does not grow to a printed digit, the fourth.
training="${small% --learning-rate *} --learning-rate 0.001 --mixer gated_delta_net --weighting mlp --report-every 0 \
--save-every 10 --steps 40"

# losses LOG: step and loss, a line each.
losses() {
  sed -n 's|.* step \([0-9]*\)/.* loss \([0-9.]*\) .*|\1 \2|p' "$1"
}
# same LOG LOG: the losses of the steps that both have, and how many there are at least.
same() {
  losses "$1" >expected
  losses "$2" | awk -v least="$3" '
    NR == FNR { loss[$1] = $2; next }
    $1 in loss { ++count; d = loss[$1] - $2; if (d < -0.00011 || d > 0.00011) { print "step " $1 ": " loss[$1] ", " $2; bad = 1 } }
    END { if (count < least) { print count + 0 " steps"; bad = 1 } exit bad }' expected - || fail "$1 and $2 differ"
}

# shellcheck disable=SC2086
"$program" $training --out one >one.log 2>&1 || fail "one process: $(cat one.log)"
for ranks in 3; do
  # shellcheck disable=SC2086
  "$mpiexec" "$flag" $ranks "$program" $training --mpi --out shared$ranks >shared$ranks.log 2>&1 ||
    fail "$ranks ranks: $(cat shared$ranks.log)"
  same one.log shared$ranks.log 40
  [ "$(ls shared$ranks/*.csv | wc -l)" -eq 1 ] || fail "not one table"
done

# More ranks than sequences in a batch.
# shellcheck disable=SC2046
"$mpiexec" "$flag" 3 "$program" $(echo "$training" | sed 's/--batch 32/--batch 2/') --mpi --out none >refused.log 2>&1 && fail "not refused"
grep -q "the number of processes is 3; it must be at most 2" refused.log || fail "$(cat refused.log)"

# A rank is killed once there is a checkpoint.
# shellcheck disable=SC2086
"$mpiexec" "$flag" 2 "$program" $training --mpi --out killed >killed.log 2>&1 &
job=$!
while ! ls killed/*.pt >files 2>&1; do
  kill -0 "$job" 2>/dev/null || fail "ended before it was killed: $(cat killed.log)"
  sleep 0.05
done
kill -KILL "$(pgrep -P "$job" | tail -n 1)"
wait "$job" && fail "the job has not failed"
grep -qi "signal 9" killed.log || fail "no message: $(cat killed.log)"
ls killed/*.csv >files 2>&1 && fail "complete already"
# shellcheck disable=SC2086
"$mpiexec" "$flag" 3 "$program" $training --mpi --out killed >resumed.log 2>&1 || fail "$(cat resumed.log)"
same one.log resumed.log 10
grep -q "step 40/40" resumed.log || fail "not to the end"
[ "$(losses resumed.log | head -n 1 | cut -d' ' -f1)" -gt 10 ] || fail "from the beginning"
