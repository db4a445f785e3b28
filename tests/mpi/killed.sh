#!/bin/sh
# A rank that is killed in the middle ends the job with a message, and the last checkpoint is whole:
# another number of ranks goes on from it, to the numbers of a job that nothing has happened to.
# Usage: killed.sh SCRATCH PROGRAM MPIEXEC NUMPROC_FLAG
set -eu
scratch=$1 program=$2 mpiexec=$3 flag=$4
rm -rf "$scratch"
mkdir -p "$scratch"
if "$mpiexec" "$flag" 3 "$program" "$scratch/stream.safetensors" 12 7 >"$scratch/output" 2>&1; then
  echo "the job has not failed" && exit 1
fi
grep -qi "signal 9" "$scratch/output" || { cat "$scratch/output"; echo "no message"; exit 1; }
if grep -q "tokens" "$scratch/output"; then
  cat "$scratch/output"; echo "the job has gone on"; exit 1
fi
[ -s "$scratch/stream.safetensors" ] || { echo "no checkpoint"; exit 1; }
"$mpiexec" "$flag" 2 "$program" "$scratch/stream.safetensors" 7 >"$scratch/until"
grep -q "^448 tokens" "$scratch/until" || { echo "the checkpoint is later than round 7"; exit 1; }
"$mpiexec" "$flag" 2 "$program" "$scratch/stream.safetensors" 12 >"$scratch/resumed"
"$mpiexec" "$flag" 1 "$program" "$scratch/other.safetensors" 12 >"$scratch/whole"
cat "$scratch/resumed"
cmp "$scratch/resumed" "$scratch/whole"
# So does a rank that gives up while the others wait for it.
if "$mpiexec" "$flag" 3 "$program" "$scratch/thrown.safetensors" 12 3 throws >"$scratch/output" 2>&1; then
  echo "the job has not failed" && exit 1
fi
grep -q "^rank 2: out of luck" "$scratch/output" || { cat "$scratch/output"; echo "no message"; exit 1; }
"$mpiexec" "$flag" 2 "$program" "$scratch/thrown.safetensors" 12 >"$scratch/resumed"
cmp "$scratch/resumed" "$scratch/whole"
