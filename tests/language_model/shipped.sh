# SPDX-License-Identifier: MIT
# The model of examples/language_model/model has learnt its language: sh shipped.sh MODEL SCORE GENERATE
set -u
model=$1 score=$2 generate=$3
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1

fail() {
  echo "FAIL: $*"
  exit 1
}

# Philippians is a book that it was not trained on.
cat > text <<'TEXT'
Philippians 1

1 Paul and Timotheus, the servants of Jesus Christ, to all the saints in Christ Jesus which are at Philippi, with the bishops and deacons:
2 Grace be unto you, and peace, from God our Father, and from the Lord Jesus Christ.
3 I thank my God upon every remembrance of you,
4 Always in every prayer of mine for you all making request with joy,
5 For your fellowship in the gospel from the first day until now;
6 Being confident of this very thing, that he which hath begun a good work in you will perform it until the day of Jesus Christ:
TEXT
# bits FILE: bits a byte. The same bytes backwards are no language.
bits() {
  "$score" "$model" "$1" 2> log | awk -F , '$1 == "all" { print $3 }'
}
rev text | awk '{ line[NR] = $0 } END { for (i = NR; i > 0; --i) print line[i] }' > backwards
forth=$(bits text) back=$(bits backwards)
echo "$forth bits a byte, $back backwards"
awk "BEGIN { exit !($forth > 0.5 && $forth < 2.5) }" || fail "$forth bits a byte"
awk "BEGIN { exit !($back > 4) }" || fail "$back bits a byte backwards"

"$generate" "$model" --prompt "1 In the beginning" --tokens 40 > said 2> log || fail "$(cat log)"
[ "$(wc -c < said)" -eq 59 ] || fail "not 18 + 40 bytes and a line's end"
