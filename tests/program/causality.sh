# SPDX-License-Identifier: MIT
# No forecast looks ahead: what comes later in the file changes no forecast made before.
. "$(dirname "$0")/helpers.sh"

for horizon in 1 7; do
  for more in '' '--learning-rate 0.01' '--inner gla --feature t' \
    '--inner delta_product(gate_bias=8) --learning-rate 0.01' '--category @48/6 --slots 4'; do
    # shellcheck disable=SC2086
    set -- --horizon "$horizon" $more
    head -n 1201 "$taylor" > long.csv
    head -n 901 "$taylor" > short.csv
    awk -F, 'NR <= 901 || NR == 1 { print; next } { print $1 "," 60000 - 1.1 * $2 }' long.csv > other.csv
    for file in long short other; do
      "$program" $file.csv "$@" --predictions $file.out > /dev/null || complain "$file $*"
      # Row 900 is the last they share: forecasts of rows up to 900 + horizon, without the label.
      awk -F, -v last=$((900 + horizon)) 'NR == 1 || $1 <= last { $2 = $NF = ""; print }' \
        $file.out > $file.forecasts
    done
    [ "$(wc -l < long.forecasts)" -eq 901 ] || complain "$*: $(wc -l < long.forecasts) lines"
    cmp -s long.forecasts short.forecasts || complain "$*: a shorter file changes the past"
    cmp -s long.forecasts other.forecasts || complain "$*: other future, other past"
    cmp -s long.out other.out && complain "$*: the future does not matter at all"
  done
done
finish
