# SPDX-License-Identifier: MIT
# Mean over seeds, with its 95 % interval (Student's t), of one number of the CSV that recall
# writes, by two of its properties.
#
#   rows    columns whose values together name a row, for instance mixer,weighting
#   column  the column whose values go across, or along the x axis
#   value   the column with the number: loss, accuracy or learning_rate
#   where   conditions, for instance test_length=256,group=all
#   form    table (Markdown) or points (for gnuplot: x mean interval, a block a row)
#
# One seed has no interval. Accuracies are in percent.

function mean(r, c) { return sum[r, c] / count[r, c] }
# Half the width of the interval.
function interval(r, c,   n, m, square) {
  n = count[r, c]
  m = mean(r, c)
  if (n < 2) return 0
  square = squares[r, c] - n * m * m
  return student(n - 1) * sqrt((square > 0 ? square : 0) / (n - 1) / n)
}
function titled(name,   tail) {
  gsub(/gated_delta_net/, "Gated DeltaNet", name)
  gsub(/mamba2/, "Mamba-2", name)
  sub(/softmax one_state/, "softmax attention", name)
  sub(/rotary one_state/, "softmax attention, rotary positions", name)
  sub(/softplus/, "softplus(L . dl)", name)
  sub(/one_state/, "one state", name)
  # Of rows that end with levels, random_count and memory.
  if (match(name, / [0-9]+ [01] [0-9]+$/)) {
    split(substr(name, RSTART + 1), tail, " ")
    name = substr(name, 1, RSTART - 1)
    if (name !~ /one state/) name = name ", " tail[1] " levels"
    if (tail[2]) name = name ", random counts"
    if (tail[3] != 200) name = name ", memory " tail[3]
  }
  return name
}
function heading(name, number) {
  if (name == "test_items") return number " items"
  if (name == "test_length") return number " tokens"
  return name " " number
}

BEGIN {
  FS = ","
  if (form == "") form = "table"
  row_parts = split(rows, row_columns, ",")
  conditions = split(where, condition, ",")
}
FNR == 1 {
  for (i = 1; i <= NF; ++i) at[$i] = i
  next
}
{
  for (i = 1; i <= conditions; ++i) {
    split(condition[i], part, "=")
    if (part[2] == "groups" ? $at[part[1]] == "all" : $at[part[1]] != part[2]) next
  }
  row = ""
  for (i = 1; i <= row_parts; ++i) row = row (i > 1 ? " " : "") $at[row_columns[i]]
  across = $at[column]
  if (!(row in row_seen)) { row_seen[row] = 1; row_name[++row_count] = row }
  if (!(across in column_seen)) { column_seen[across] = 1; column_name[++column_count] = across }
  number = $at[value] * (value == "accuracy" ? 100 : 1)
  sum[row, across] += number
  squares[row, across] += number * number
  ++count[row, across]
}
END {
  # Columns ascend.
  for (i = 2; i <= column_count; ++i) {
    for (j = i; j > 1 && column_name[j - 1] + 0 > column_name[j] + 0; --j) {
      swap = column_name[j]; column_name[j] = column_name[j - 1]; column_name[j - 1] = swap
    }
  }
  digits = value == "accuracy" ? 1 : 3
  if (form == "points") {
    for (r = 1; r <= row_count; ++r) {
      printf "%s\"%s\"\n", (r > 1 ? "\n\n" : ""), titled(row_name[r])
      for (c = 1; c <= column_count; ++c) {
        if (!((row_name[r], column_name[c]) in count)) continue
        printf "%s %.6g %.6g\n", column_name[c], mean(row_name[r], column_name[c]),
               interval(row_name[r], column_name[c])
      }
    }
    exit
  }
  printf "| |"
  for (c = 1; c <= column_count; ++c) {
    printf " %s |", (column_count > 1 ? heading(column, column_name[c]) : value)
  }
  printf "\n|---|"
  for (c = 1; c <= column_count; ++c) printf "--:|"
  print ""
  for (r = 1; r <= row_count; ++r) {
    printf "| %s |", titled(row_name[r])
    for (c = 1; c <= column_count; ++c) {
      if ((row_name[r], column_name[c]) in count && value == "learning_rate") {
        printf " %g |", mean(row_name[r], column_name[c])
      } else if ((row_name[r], column_name[c]) in count) {
        printf " %.*f ± %.*f |", digits, mean(row_name[r], column_name[c]), digits,
               interval(row_name[r], column_name[c])
      } else {
        printf " |"
      }
    }
    print ""
  }
}
