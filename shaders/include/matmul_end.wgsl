// The sums t of a register tile to y; row0 and col0 are its first row and column (matmul_tile, matmul_subgroup).
#for I 0 TILE_M
if (row0 + ${I}u < params.m) {
#for J 0 COLUMNS
#if GATED
    if (col0 + ${J}u < params.n) { end_gated(row0 + ${I}u, col0 + ${J}u, t${I}_${J}, t${I}_${J+COLUMNS}); }
#else
    if (col0 + ${J}u < params.n) { end(row0 + ${I}u, col0 + ${J}u, t${I}_${J}); }
#endif
#endfor
}
#endfor
