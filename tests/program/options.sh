# SPDX-License-Identifier: MIT
# Every wrong option value: exit status 2 and a message that names the option.
. "$(dirname "$0")/helpers.sh"

for option in --horizon --lags --season --warm-up --gamma --gate-bias --beta --beta-bias --d-k --d-v \
  --max-levels --recency --learning-rate --seed --forgetting --initial-covariance --plot-rows; do
  for value in x '' nan inf -1e30 1e30; do
    expect 2 "^stream_forecast: .*$option" "$option=$value"
  done
done
expect 2 '--horizon' --horizon 0
expect 2 '--horizon' --horizon 1.5
expect 2 '--lags' --lags=-1
expect 2 '--seed' --seed 0
expect 2 '--seed' --seed=-1
expect 2 '--max-levels' --max-levels 65
expect 2 '--gamma' --gamma 0
expect 2 '--beta' --beta 2.1
expect 2 '--forgetting' --forgetting 1.01
expect 2 '--rule' --rule transformer
expect 2 '--scalar' --scalar half
expect 2 '--period' --period 1
expect 2 '--period' --period 5:3
expect 2 '--period' --period 48:0
expect 2 '--period' --period 48:24:1
expect 2 '--period' --period none --period 48
expect 2 '--key-period' --key-period 7
expect 2 '--delimiter' --delimiter ab
expect 2 '--plot' --plot picture.jpg
expect 2 '--per-token-beta' --per-token-beta --rule gla
expect 2 '--per-token-beta' --per-token-beta --key-only
expect 2 '--nonsense' --nonsense
expect 2 'more' "$taylor" more
expect 2 'nowhere/p.csv: cannot be written' "$taylor" --predictions nowhere/p.csv

cp "$taylor" input.csv
expect 2 'input.csv: is the input itself' input.csv --predictions ./input.csv
cmp -s "$taylor" input.csv || complain "the input was overwritten"

"$program" --help > out || complain "--help: exit status $?"
"$program" --version | grep -q '^[0-9]*\.[0-9]*\.[0-9]*$' || complain "--version"
for option in FILE target feature delimiter no-header skip-bad-rows horizon lags period season \
  warm-up rule key-only per-token-beta gamma gate-bias beta beta-bias key-period d-k d-v max-levels \
  recency learning-rate seed scalar forgetting initial-covariance predictions plot plot-rows; do
  grep -q -e "$option" out || complain "--help does not tell of $option"
done

# Every rule, in both precisions, trained and not, runs and forecasts something sensible.
head -n 1001 "$taylor" > short.csv
for rule in retnet gla gla-vector delta-net gated-delta-net; do
  for more in '' --key-only '--scalar float' '--learning-rate 0.01' '--d-k 7 --d-v 1 --max-levels 3' \
    '--key-period all --recency 0.2' '--feature t --lags 1' '--horizon 48'; do
    # shellcheck disable=SC2086
    "$program" --rule "$rule" $more --period 48:8 short.csv > out 2> err && [ ! -s err ] ||
      complain "--rule $rule $more: $(cat err)"
    holds "$(figure 'log-linear attention' MAPE) < 15" "--rule $rule $more"
  done
done
"$program" --per-token-beta short.csv > out || complain "--per-token-beta"
finish
