# SPDX-License-Identifier: MIT
# The predictions file agrees with the input and with the table.
. "$(dirname "$0")/helpers.sh"

for horizon in 1 48; do
  "$program" "$taylor" --horizon "$horizon" --predictions p.csv > out || complain "the run"
  head -n 1 p.csv | grep -q '^row,label,log_linear_attention,linear_attention,least_squares,last_season,last_value,scored$' ||
    complain "header: $(head -n 1 p.csv)"
  # A forecast for every row from 1 + horizon to the last + horizon, in order.
  awk -F, -v h="$horizon" 'NR > 1 && $1 != NR - 1 + h { exit 1 } END { exit NR != 4033 }' p.csv ||
    complain "rows"
  # Labels are those of the input, and missing beyond its end.
  awk -F, -v h="$horizon" '
    NR == FNR { if (FNR > 1) demand[FNR - 1] = $2; next }
    FNR > 1 && $2 != demand[$1] { exit 1 }
    FNR > 1 && $8 != ($1 - h > 672 && $1 <= 4032) { exit 1 }' "$taylor" p.csv || complain "labels"
  # The naive rivals by hand.
  awk -F, -v h="$horizon" '
    NR == FNR { if (FNR > 1) demand[FNR - 1] = $2; next }
    FNR > 1 && $7 != demand[$1 - h] { exit 1 }
    FNR > 1 && $1 > 336 && $6 != demand[$1 - 336] { exit 1 }' "$taylor" p.csv || complain "rivals"
  # The table by hand.
  column=3
  for model in 'log-linear attention' 'linear attention, one state' 'least squares alone' \
    'same time last season' 'last value'; do
    recomputed=$(awk -F, -v c="$column" '
      $8 == 1 { e = $c - $2; a += e < 0 ? -e : e; s += e * e; p += (e < 0 ? -e : e) / $2; n++ }
      END { printf "%.10g %.10g %.10g", a / n, sqrt(s / n), 100 * p / n }' p.csv)
    # shellcheck disable=SC2086
    set -- $recomputed
    holds "($(figure "$model" MAE) / $1 - 1) ^ 2 < 1e-10" "MAE of $model, $horizon ahead"
    holds "($(figure "$model" RMSE) / $2 - 1) ^ 2 < 1e-10" "RMSE of $model, $horizon ahead"
    holds "($(figure "$model" MAPE) - $3) ^ 2 < 0.000501 ^ 2" "MAPE of $model, $horizon ahead"
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
