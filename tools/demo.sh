#!/bin/bash
# Installs what is missing, builds, quantizes the demo model to 4 bits in three ways, and shows quality
# and size before and after. Can be run again. Most of the time is the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh

ptq_step "Packages"
ptq_install build

ptq_step "Release build"
cmake --preset release -DPTQ_TESTS=OFF
cmake --build build/release --parallel "$(ptq_jobs)" --target quantize

quantize=build/release/tools/quantize/quantize
source=data/demo
text=data/demo/heldout.txt
out=build/demo
mkdir -p $out
show() { printf '\n$ %s\n' "$*" && "$@"; }

ptq_step "Round to nearest, 4 bits"
show $quantize run --src $source --dst $out/rtn --method rtn --bits 4 --group-size 128 --overwrite
ptq_step "AWQ, 4 bits"
show $quantize run --src $source --dst $out/awq --method awq --bits 4 --group-size 128 \
  --calib $source/calibration.txt --overwrite

ptq_step "The best quality, 4 bits"
show $quantize run --src $source --dst $out/best --method best --bits 4 --group-size 128 \
  --calib $source/calibration.txt --overwrite

ptq_step "Quality on text that the model has not seen ($text)"
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),*$/\1/p" "$2"; }
row() {  # LABEL DIRECTORY
  local result=$out/score.json bytes
  $quantize eval --src "$2" --against $source --text $text --json >$result || return 1
  bytes=$(cat "$2"/model.onnx* | wc -c)
  printf '%s %s %s %s %s\n' "$1" "$(number perplexity $result)" "$(number kl $result)" \
    "$(number top1_agreement $result)" "$bytes"
}
{ row FP16 $source && row RTN-INT4 $out/rtn && row AWQ-INT4 $out/awq &&
  row BEST-INT4 $out/best; } |
  awk 'BEGIN { printf "%-10s %11s %12s %13s %10s\n", "model", "perplexity", "KL to FP16", "top-1 agrees", "size" }
       { sub("-", " ", $1); sub("BEST", "best", $1)
         printf "%-10s %11.3f %12.4f %11.1f %% %7.2f MB\n", $1, $2, $3, 100 * $4, $5 / 1e6 }' |
  tee $out/table.txt
ptq_step "Done: the quantized models are in $out/rtn, $out/awq and $out/best"
