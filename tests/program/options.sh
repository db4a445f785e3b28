# SPDX-License-Identifier: MIT
# Every wrong option value: exit status 2 and a message that names the option.
. "$(dirname "$0")/helpers.sh"

for option in --horizon --lags --season --warm-up --d-k --d-v --recency --learning-rate --seed --forgetting --initial-covariance --plot-rows; do
  for value in x '' nan inf -1e30 1e30; do
    expect 2 "^stream_forecast: .*$option" "$option=$value"
  done
done
expect 2 '--horizon' --horizon 0
expect 2 '--horizon' --horizon 1.5
expect 2 '--lags' --lags=-1
expect 2 '--seed' --seed 0
expect 2 '--seed' --seed=-1
expect 2 '--forgetting' --forgetting 1.01

# refuse_inner TEXT COLUMN PATTERN
refuse_inner() {
  expect 2 "^stream_forecast: --inner: column $2: $3" --inner="$1"
}
modes='expected a mode: one of retnet, hawk,.*log_linear$'
expect 2 '--inner' --inner=
refuse_inner transformer 1 "found \"transformer\"; $modes"
refuse_inner 'gla gla' 5 'found "gla"; expected the end'
refuse_inner 'gla(gate=8)' 5 'found "gate"; expected an argument: gate_bias'
refuse_inner 'gla(gate_bias=x)' 15 'found "x"; expected a number'
refuse_inner 'gla(gate_bias=nan)' 15 ''
refuse_inner 'gla(gate_bias=8' 16 'found the end; expected "," or ")"'
refuse_inner 'gla(gate_bias=8, gate_bias=8)' 18 'found "gate_bias"; expected each argument once'
refuse_inner 'retnet(gamma=0)' 14 'RetNet::gamma is 0; it must be in (0, 1]'
refuse_inner 'gated_delta_net(beta_scale=2.1)' 28 'GatedDeltaNet::beta_scale is 2.1; it must be'
refuse_inner 'log_linear(gla, max_levels=65)' 28 'LogLinear::max_levels is 65; it must be'
refuse_inner 'log_linear(gla, level_weights=gla)' 31 'found "gla"; expected level weights: one of'
refuse_inner 'log_linear(gla, level_weights=mean_mixture(tau=0))' 48 'MeanMixture::tau is 0; it must be'
refuse_inner 'log_linear(log_linear(gla))' 12 'found "log_linear"; expected an inner mode'
refuse_inner 'gla(max_levels=3)' 5 'found "max_levels"; expected an argument'

expect 2 '--scalar' --scalar half
expect 2 '--period' --period 1
expect 2 '--period' --period 5:3
expect 2 '--period' --period 48:0
expect 2 '--period' --period 48:24:1
expect 2 '--period' --period none --period 48
expect 2 '--key-period' --key-period 7
expect 2 '--delimiter' --delimiter ab
expect 2 '--plot' --plot picture.jpg
expect 2 '--nonsense' --nonsense
expect 2 'more' "$taylor" more
expect 2 'nowhere/p.csv: cannot be written' "$taylor" --predictions nowhere/p.csv

cp "$taylor" input.csv
expect 2 'input.csv: is the input itself' input.csv --predictions ./input.csv
cmp -s "$taylor" input.csv || complain "the input was overwritten"

"$program" --help > out || complain "--help: exit status $?"
"$program" --version | grep -q '^[0-9]*\.[0-9]*\.[0-9]*$' || complain "--version"
for option in FILE target feature time label-time category slots kappa levels state-decay decay seasonal-lag delimiter no-header skip-bad-rows horizon lags period season \
  warm-up inner key-period d-k d-v recency learning-rate seed scalar forgetting initial-covariance predictions plot plot-rows save save-every load; do
  grep -q -e "$option" out || complain "--help does not tell of $option"
done

# The rules that the help lists, which are those of the one list, with the arguments it lists for them.
rules=$(sed -n '/^Rules:/,/^$/ s/^ *\([a-z0-9_]*(.*)\|[a-z_]*\)$/\1/p' out | grep -v -e '^$' -e '^log_linear')
listed=$(sed -n '/^using Rules/,/;/p' "$(dirname "$0")/../../include/loglinear/rules/list.hpp" | grep -c '^ *[A-Z]')
[ "$(echo "$rules" | wc -l)" -eq "$listed" ] || complain "$listed rules are listed, and the help tells of: $rules"

# sensible ARGUMENT...: runs and forecasts something sensible.
sensible() {
  "$program" "$@" --period 48:8 --decay 0.9 short.csv > out 2> err && [ ! -s err ] || complain "$*: $(cat err)"
  holds "$(figure 'log-linear attention, mixture' MAPE) < 15" "$*"
  holds "$(figure 'linear attention, one state' MAPE) < 15" "$*"
}

# Every rule, in both precisions, trained and not.
head -n 1001 "$taylor" > short.csv
# Arguments have spaces: one rule a line, none inside the other arguments.
echo "$rules" > rules
while read -r rule; do
  sensible --inner "$rule"
  sensible --inner "log_linear($rule, key_only=true)"
  sensible --inner "log_linear($rule, max_levels=3)" --d-k 7 --d-v 1
  for more in '--scalar float' '--learning-rate 0.01' '--key-period all --recency 0.2' \
    '--feature t --lags 1' '--horizon 48'; do
    # shellcheck disable=SC2086
    sensible --inner "$rule" $more
  done
done < rules
for n in 1 3 4; do
  sensible --inner "delta_product(n_compositions=$n, reflections=true)" --scalar float
done
sensible --inner 'gated_delta_net(beta=per_token)'
sensible --inner 'rwkv7(decay_first=true)' --learning-rate 0.01

# A rule alone has 20 levels; spaces do not matter; what is said is what is done.
# same_forecasts INNER INNER
same_forecasts() {
  "$program" short.csv --decay 0.9 --inner "$1" --predictions one.out > out || complain "$1"
  "$program" short.csv --decay 0.9 --inner "$2" --predictions other.out > out || complain "$2"
  cmp -s one.out other.out
}
same_forecasts 'gla(gate_bias=5)' ' log_linear ( gla(gate_bias = 5.0) , max_levels = 20 ) ' ||
  complain "a rule alone is not log_linear(rule, max_levels=20)"
same_forecasts 'gla(gate_bias=5)' 'gla(gate_bias=4)' && complain "gate_bias changes nothing"
same_forecasts 'log_linear(gla, max_levels=3)' 'log_linear(gla, max_levels=4)' &&
  complain "max_levels changes nothing"
weighted='log_linear(gla, level_weights'
same_forecasts "$weighted=normalized_mixture(lambda_init=-2))" 'log_linear(gla)' &&
  complain "lambda_init changes nothing"
same_forecasts "$weighted=normalized_mixture)" 'log_linear(gla)' ||
  complain "the default of level_weights is another"
for weights in mean_mixture softplus_weights unit_weights; do
  sensible --inner "$weighted=$weights)"
done
same_forecasts "$weighted=mean_mixture)" 'log_linear(gla)' && complain "mean_mixture changes nothing"
same_forecasts "$weighted=softplus_weights)" "$weighted=mean_mixture)" &&
  complain "softplus_weights changes nothing"
# All that is left of a rule with key_only is whether it normalises its key.
same_forecasts 'log_linear(gla, key_only=true)' 'log_linear(retnet, key_only=true)' ||
  complain "key_only depends on the rule"
same_forecasts 'log_linear(gla, key_only=true)' 'log_linear(delta_net, key_only=true)' &&
  complain "key_only does not normalise"
finish
