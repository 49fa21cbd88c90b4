// Eight columns from column k on, in matmul_subgroup: each lane loads some activations and hands them to the others (s); `v` of a tile's column holds
// the weights of those columns. From a texture each lane loads those of one of eight rows.
#if X_TEXELS
let xa = x4_at(own, k);
let xb = x4_at(own, k + 4u);
#for I 0 TILE_M
#for C 0 4
let s${I}_${C} = subgroupBroadcast(xa[${C}], ${I}u);
let s${I}_${C+4} = subgroupBroadcast(xb[${C}], ${I}u);
#endfor
#endfor
#else
#for I 0 TILE_M
let s${I} = x_at(r${I}, k + lane);
#for C 0 8
let s${I}_${C} = subgroupBroadcast(s${I}, ${C}u);
#endfor
#endfor
#endif
#for J 0 TILE_N
#for C 0 4
#for I 0 TILE_M
a${I}_${J} = add_product(a${I}_${J}, s${I}_${C}, v${J}.a[${C}]);
#endfor
#endfor
#for C 0 4
#for I 0 TILE_M
a${I}_${J} = add_product(a${I}_${J}, s${I}_${C+4}, v${J}.b[${C}]);
#endfor
#endfor
#endfor
