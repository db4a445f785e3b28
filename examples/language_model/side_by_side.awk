# SPDX-License-Identifier: MIT
# The table of side_by_side from its CSV: mean and 95 % interval of the mean over seeds.
function name() {
  if ($at["mixer"] == "rotary") return "softmax attention, rotary positions"
  text = $at["mixer"] == "mamba2" ? "Mamba-2" : "Gated DeltaNet"
  if ($at["weighting"] == "one_state") return text ", one state"
  text = text ", " ($at["weighting"] == "softplus" ? "softplus(L . W x)" : "mlp")
  if ($at["random_count"]) return text ", random count"
  return text (2 ^ ($at["levels"] - 1) > $at["length"] ? ", a weight for every level" : "")
}
NR == 1 {
  for (i = 1; i <= NF; ++i) at[$i] = i
  next
}
{
  row = name()
  if (!(row in parameters)) order[++rows] = row
  parameters[row] = $at["parameters"]
  length_ = $at["test_length"]
  if (!(length_ in seen)) { seen[length_] = 1; lengths[++columns] = length_ }
  ++n[row, length_]
  sum[row, length_] += $at["bits_per_byte"]
  squares[row, length_] += $at["bits_per_byte"] ^ 2
}
END {
  printf "| | weights | seeds |"
  for (i = 1; i <= columns; ++i) printf " %d bytes |", lengths[i]
  printf "\n|---|--:|--:|"
  for (i = 1; i <= columns; ++i) printf "--:|"
  printf "\n"
  for (r = 1; r <= rows; ++r) {
    row = order[r]
    printf "| %s | %d | %d |", row, parameters[row], n[row, lengths[1]]
    for (i = 1; i <= columns; ++i) {
      m = n[row, lengths[i]]
      mean = sum[row, lengths[i]] / m
      printf " %.3f", mean
      if (m > 1) {
        variance = (squares[row, lengths[i]] - m * mean ^ 2) / (m - 1)
        printf " ± %.3f", student(m - 1) * sqrt((variance > 0 ? variance : 0) / m)
      }
      printf " |"
    }
    printf "\n"
  }
}
