// Eight columns from column k on, in sparse_rows_texels: their weights of each neuron, times the activations s of each row.
#for J 0 NEURONS
let wu${J} = textureLoad(w, vec2<u32>(k >> 3u, slot${J}));
let w${J}_0 = first4(wu${J});
let w${J}_1 = last4(wu${J});
#if GATED
let gu${J} = textureLoad(g, vec2<u32>(k >> 3u, slot${J}));
let g${J}_0 = first4(gu${J});
let g${J}_1 = last4(gu${J});
#endif
#for I 0 ROWS
#for Q 0 2
#for C 0 4
up${I}_${J} = add_product(up${I}_${J}, s${I}_${Q*4+C}, w${J}_${Q}[${C}]);
#if GATED
gate${I}_${J} = add_product(gate${I}_${J}, s${I}_${Q*4+C}, g${J}_${Q}[${C}]);
#endif
#endfor
#endfor
#endfor
#endfor
