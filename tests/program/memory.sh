# SPDX-License-Identifier: MIT
# Endless input in constant memory, and an interrupt that ends the input, not the program.
. "$(dirname "$0")/helpers.sh"
[ -r /proc/self/status ] || exit 77

rows() {
  awk -v n="$1" 'BEGIN { for (t = 0; t < n; t++) print 100 + 10 * sin(t / 4) + (t * 7919 % 101) / 50 }'
}
peak() {
  awk '/^VmHWM/ { print $2 }' "/proc/$1/status"
}

mkfifo pipe
"$program" - --no-header --period 25:3 --horizon 5 --predictions /dev/null > out 2> err < pipe &
process=$!
exec 3> pipe
rows 10000 >&3
early=$(peak $process)
rows 300000 >&3
late=$(peak $process)
[ "$early" -gt 0 ] && [ "$late" -le $((early + 256)) ] ||
  complain "peak memory grew from $early to $late KiB"

# It waits for more, half a line read; after the interrupt it must not.
printf 5 >&3
sleep 0.3
kill -INT $process
wait $process
status=$?
[ "$status" -eq 0 ] || complain "after an interrupt: exit status $status; $(cat err)"
grep -q '^log-linear attention' out || complain "after an interrupt: no table"
exec 3>&-
finish
