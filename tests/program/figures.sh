# SPDX-License-Identifier: MIT
# What is claimed about the shipped data. The program is deterministic; the slack is for compilers.
. "$(dirname "$0")/helpers.sh"

# is MODEL VALUE: its MAPE in percent, as rounded to two digits by others.
is() {
  holds "($(figure "$1" MAPE) - $2) ^ 2 < $3 ^ 2" "$1: $(figure "$1" MAPE), expected $2"
}
ours='log-linear attention' state='linear attention, one state' squares='least squares alone'

# Figures that were computed independently of this program.
"$program" "$taylor" --period none --season 336 --warm-up 672 > out || complain "lags alone"
is 'last value' 2.27 0.006
is 'same time last season' 1.97 0.006
is "$squares" 1.04 0.006
"$program" "$taylor" --period 48:8 --period 336:5 > out || complain "few harmonics"
is "$squares" 0.74 0.006
"$program" "$taylor" --period 48:8 --period 336:5 --horizon 48 > out || complain "few harmonics, a day"
is 'last value' 6.18 0.006
is 'same time last season' 1.97 0.006
is "$squares" 3.31 0.02

# One step ahead: attention takes more than a tenth of the error of least squares.
"$program" "$taylor" > out || complain "one step"
holds "$(figure "$ours" MAPE) < 0.395"
holds "$(figure "$ours" MAE) < 0.89 * $(figure "$squares" MAE)"
holds "$(figure "$ours" RMSE) < 0.86 * $(figure "$squares" RMSE)"
# With equal level weights the hierarchy reads what one state does, but for the drawn gates.
holds "($(figure "$ours" MAE) / $(figure "$state" MAE) - 1) ^ 2 < 0.001 ^ 2"

# One day ahead: little, but something.
"$program" "$taylor" --horizon 48 --key-period 336 --recency 0.1 --initial-covariance 0.2 \
  --inner 'gated_delta_net(beta_scale=0.1, gate_bias=8)' > out || complain "one day"
holds "$(figure "$ours" MAPE) < 1.17"
holds "$(figure "$ours" MAE) < 0.995 * $(figure "$squares" MAE)"
holds "$(figure "$ours" MAE) < $(figure "$state" MAE)"
finish
