# SPDX-License-Identifier: MIT
# Draws the blocks of the file `points` that summary.awk wrote, to the file `picture`; x and y are
# the labels of the axes.
set encoding utf8
set terminal svg size 900,560 font 'sans,15' background 'white'
set output picture
set border 3 lc rgb '#888888'
set tics nomirror out scale 0.6 textcolor rgb '#555555'
set grid xtics ytics back lc rgb '#d8d8d8' lw 1 dt 1
set key outside right top Left reverse samplen 2 textcolor rgb '#222222'
set xlabel x textcolor rgb '#555555'
set ylabel y textcolor rgb '#555555'
set bars 0.5
stats points using 1 nooutput
array colour[9] = ['#222222', '#c8324a', '#e08a2e', '#3a7d44', '#2f6fb3', '#8fb3d1', '#7b4fa3', '#c78bc0', '#999999']
# Side by side, so that intervals do not hide each other.
beside(x, i) = x * (1 + 0.012 * (i - (STATS_blocks - 1) / 2.0))
plot for [i = 0:STATS_blocks - 1] points index i using (beside($1, i)):2:3 with yerrorlines lw 2 pt 7 ps 0.6 \
  lc rgb colour[1 + i % 9] title columnheader(1)
