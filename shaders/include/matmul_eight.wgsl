// Eight columns from column k on, in matmul_subgroup: each lane loads one activation of each row and hands it to the others; `v` of a tile's column holds
// the weights of those columns.
#for I 0 TILE_M
let s${I} = x_at(r${I}, k + lane);
#for C 0 8
let s${I}_${C} = subgroupBroadcast(s${I}, ${C}u);
#endfor
#endfor
#for J 0 TILE_N
#for I 0 TILE_M
#for C 0 4
a${I}_${J} = add_product(a${I}_${J}, s${I}_${C}, v${J}.a[${C}]);
#endfor
#for C 0 4
a${I}_${J} = add_product(a${I}_${J}, s${I}_${C+4}, v${J}.b[${C}]);
#endfor
#endfor
#endfor
