# SPDX-License-Identifier: MIT
# The predictions file agrees with the input and with the table.
. "$(dirname "$0")/helpers.sh"

for horizon in 1 48; do
  "$program" "$taylor" --horizon "$horizon" --predictions p.csv > out || complain "the run"
  head -n 1 p.csv | grep -q '^row,label,cascade,log_linear_attention,linear_attention,bank,decay_0.5,decay_0.8,decay_0.9,decay_0.95,decay_0.99,least_squares,last_season,last_value,scored$' ||
    complain "header: $(head -n 1 p.csv)"
  # A forecast for every row from 1 + horizon to the last + horizon, in order.
  awk -F, -v h="$horizon" 'NR > 1 && $1 != NR - 1 + h { exit 1 } END { exit NR != 4033 }' p.csv ||
    complain "rows"
  # Labels are those of the input, and missing beyond its end.
  awk -F, -v h="$horizon" '
    NR == FNR { if (FNR > 1) demand[FNR - 1] = $2; next }
    FNR > 1 && $2 != demand[$1] { exit 1 }
    FNR > 1 && $15 != ($1 - h > 672 && $1 <= 4032) { exit 1 }' "$taylor" p.csv || complain "labels"
  # The naive rivals by hand.
  awk -F, -v h="$horizon" '
    NR == FNR { if (FNR > 1) demand[FNR - 1] = $2; next }
    FNR > 1 && $14 != demand[$1 - h] { exit 1 }
    FNR > 1 && $1 > 336 && $13 != demand[$1 - 336] { exit 1 }' "$taylor" p.csv || complain "rivals"
  # The table by hand.
  column=3
  for model in 'log-linear attention, cascade' 'log-linear attention, mixture' \
    'linear attention, one state' 'bank of 5 decays' 'means that decay by 0.5' \
    'means that decay by 0.8' 'means that decay by 0.9' 'means that decay by 0.95' \
    'means that decay by 0.99' 'least squares alone' 'same time last season' 'last value'; do
    # The border of the halves is what the program says of their lengths.
    first=$(sed -n 's/^Forecasts.*(\([0-9]*\) and .*/\1/p' out)
    recomputed=$(awk -F, -v c="$column" -v first="$first" '
      $15 == 1 { e = $c - $2; a += e < 0 ? -e : e; s += e * e; p += (e < 0 ? -e : e) / $2
        if (n++ < first) b = a }
      END { printf "%.10g %.10g %.10g %.10g %.10g %d", a / n, sqrt(s / n), 100 * p / n,
        b / first, (a - b) / (n - first), n - first }' p.csv)
    # shellcheck disable=SC2086
    set -- $recomputed
    holds "($(figure "$model" MAE) / $1 - 1) ^ 2 < 1e-10" "MAE of $model, $horizon ahead"
    holds "($(figure "$model" RMSE) / $2 - 1) ^ 2 < 1e-10" "RMSE of $model, $horizon ahead"
    holds "($(figure "$model" MAPE) - $3) ^ 2 < 0.000501 ^ 2" "MAPE of $model, $horizon ahead"
    holds "($(figure "$model" 1st) / $4 - 1) ^ 2 < 1e-10" "first half of $model, $horizon ahead"
    holds "($(figure "$model" 2nd) / $5 - 1) ^ 2 < 1e-10" "second half of $model, $horizon ahead"
    holds "($first - $6) ^ 2 <= 8 ^ 2" "halves of $first and $6, $horizon ahead"
    set -- "$program" "$taylor"
    column=$((column + 1))
  done
done

# Progress: counters double, and the last average times its count adds up.
awk '/^ *loss/ { n = 1; next } n && NF == 5 { if ($3 != n) exit 1; n *= 2 } n && NF == 0 { exit n != 4096 }' out ||
  complain "the counters of the progress lines do not double"

"$program" "$taylor" --predictions /dev/full > /dev/null 2> err
[ $? -eq 2 ] && grep -q '/dev/full: cannot be written' err || complain "a full disk is not noticed"
"$program" "$taylor" > /dev/full 2> err
[ $? -eq 1 ] || complain "a full standard output is not noticed"
finish
