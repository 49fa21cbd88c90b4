#!/bin/sh
# Traces in half precision for `calibrate_half` (tests/src/bin): each model with both attentions, greedy and sampled, two lengths.
# usage: calibration.sh DTYPE OUT NAME=FOLDER...     (DTYPE: bf16 or fp16; assay-prove on the PATH)
set -eu
dtype=$1 out=$2
shift 2
for pair in "$@"; do
    name=${pair%%=*} folder=${pair#*=}
    for attn in eager sdpa; do
        for run in 1 2 3 4 5 6; do
            ids=$(awk -v run="$run" -v n="$((8 + 24 * (run % 3)))" 'BEGIN { for (i = 0; i < n; i++) printf "%s%d", i ? "," : "", (i * i * 7 + 31 * i + 101 * run) % 250 }')
            temperature=$([ "$((run % 2))" = 0 ] && echo 0 || echo 0.8)
            assay-prove --model "$folder" --device cpu --dtype "$dtype" --attn "$attn" --prompt-ids "$ids" -n "$((16 + 16 * (run % 2)))" \
                --temperature "$temperature" --seed "$run" --ignore-eos --open "layers=0,logits=$(seq -s, 0 $((15 + 16 * (run % 2))))" \
                --states "$(seq -s, 0 "$(sed -n 's/.*"num_hidden_layers": *\([0-9]*\).*/\1/p' "$folder/config.json")")" \
                --out "$out/$name--$dtype-$attn-$run.bin" >/dev/null
        done
    done
done
