# SPDX-License-Identifier: MIT
# Means and 95 % intervals of the tables, for numbers that one can work out: sh tables.sh RECALL_FOLDER
set -eu
recall=$1
csv=$(mktemp)
trap 'rm -f "$csv"' EXIT
cat > "$csv" <<END
mixer,weighting,test_length,group,seed,accuracy
mamba2,mlp,64,all,1,0.9
mamba2,mlp,64,all,2,1
mamba2,mlp,64,0,1,0.1
mamba2,mlp,1024,all,1,0.5
mamba2,mlp,1024,all,2,0.5
rotary,one_state,64,all,1,0.25
END
# Of 90 and 100 the deviation is 7.071, which over sqrt(2) is 5; t = 12.706 with one degree of freedom.
wanted='| | 64 tokens | 1024 tokens |
|---|--:|--:|
| Mamba-2 mlp | 95.0 ± 63.5 | 50.0 ± 0.0 |
| softmax attention, rotary positions | 25.0 ± 0.0 | |'
found=$(awk -f "$recall/../learning/student.awk" -f "$recall/summary.awk" -v rows=mixer,weighting \
  -v column=test_length -v value=accuracy -v where=group=all "$csv")
[ "$found" = "$wanted" ] || {
  printf 'found\n%s\nwanted\n%s\n' "$found" "$wanted" >&2
  exit 1
}
