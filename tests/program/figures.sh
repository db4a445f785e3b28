# SPDX-License-Identifier: MIT
# What is claimed about the shipped data. The program is deterministic; the slack is for compilers.
. "$(dirname "$0")/helpers.sh"

# is MODEL VALUE: its MAPE in percent, as rounded to two digits by others.
is() {
  holds "($(figure "$1" MAPE) - $2) ^ 2 < $3 ^ 2" "$1: $(figure "$1" MAPE), expected $2"
}
ours='log-linear attention, cascade' mixture='log-linear attention, mixture'
state='linear attention, one state' bank='bank of 5 decays' squares='least squares alone'

# Figures that were computed independently of this program.
"$program" "$taylor" --period none --season 336 --warm-up 672 > out || complain "lags alone"
is 'last value' 2.27 0.006
is 'same time last season' 1.97 0.006
is "$squares" 1.04 0.006
"$program" "$taylor" --period 48:8 --period 336:5 --seasonal-lag none > out || complain "few harmonics"
is "$squares" 0.74 0.006
"$program" "$taylor" --period 48:8 --period 336:5 --seasonal-lag none --horizon 48 > out || complain "few harmonics, a day"
is 'last value' 6.18 0.006
is 'same time last season' 1.97 0.006
is "$squares" 3.31 0.02

# One step ahead, all with the same seasonal lags: least squares as others computed it.
"$program" "$taylor" > out || complain "one step"
holds "($(figure "$squares" MAE) - 110.8) ^ 2 < 0.06 ^ 2" "$(figure "$squares" MAE)"
# Of all time scales at once none was chosen: that is worth what a bank of chosen decays is, and more
# than least squares alone, in either half.
for half in 1st 2nd; do
  holds "($(figure "$ours" $half) / $(figure "$bank" $half) - 1) ^ 2 < 0.015 ^ 2" "$half half"
  holds "$(figure "$ours" $half) < 0.99 * $(figure "$squares" $half)" "$half half"
done
# With equal level weights the mixture reads what one state does, but for the drawn gates.
holds "($(figure "$mixture" MAE) / $(figure "$state" MAE) - 1) ^ 2 < 0.001 ^ 2"

# One day ahead, without those lags: little, but something.
"$program" "$taylor" --horizon 48 --seasonal-lag none --key-period 336 --recency 0.1 \
  --initial-covariance 0.2 --inner 'gated_delta_net(beta_scale=0.1, gate_bias=8)' > out ||
  complain "one day"
holds "$(figure "$mixture" MAPE) < 1.17"
holds "$(figure "$mixture" MAE) < 0.995 * $(figure "$squares" MAE)"
holds "$(figure "$mixture" MAE) < $(figure "$state" MAE)"
finish
