#!/bin/bash
# Writes docs/cli.md, docs/recipe.md, docs/supported-operators.md and docs/man/quantize.1 from the
# program itself.
#   tools/generate_docs.sh [QUANTIZE] [OUTPUT_DIRECTORY]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
quantize=${1:-build/release/tools/quantize/quantize}
docs=${2:-docs}
mkdir -p "$docs/man"

commands() {  # names of one word or two
  "$quantize" help | sed -n '/^Commands:/,/^$/p' | sed -nE 's/^  ([a-z]+( [a-z]+)?)  .*/\1/p'
}

statuses() {  # STATUS TAB MEANING
  printf '%s\t%s\n' \
    0 "done" \
    1 "internal error: a bug of this program" \
    2 "usage: wrong options, or a pattern that matches nothing" \
    3 "unreadable or malformed input" \
    4 "a model or an operator that this build cannot handle" \
    5 "cannot write" \
    6 "out of memory or over the budget" \
    7 "verification failed: nothing was kept, or what was to be judged did not pass" \
    130 "interrupted"
}

cli_page() {
  echo "# Command line"
  echo
  echo "Written by \`tools/generate_docs.sh\` from the program's own help."
  echo
  echo "Results go to standard output, messages to standard error. An error is one line that says"
  echo "what, where and what to do; with \`--json\` standard output holds it in parts"
  echo "([json-output.md](json-output.md)). Options stand anywhere, \`_\` and \`-\` are the same in their"
  echo "names, and \`--config\` reads them from a file ([recipe.md](recipe.md))."
  echo
  echo "| exit status | meaning |"
  echo "|---|---|"
  statuses | awk -F'\t' '{print "| " $1 " | " $2 " |"}'
  printf '\n```\n$ quantize --help\n'
  "$quantize" --help
  echo '```'
  commands | while read -r command; do
    printf '\n## quantize %s\n\n```\n$ quantize %s --help\n' "$command" "$command"
    # shellcheck disable=SC2086
    "$quantize" $command --help </dev/null
    echo '```'
  done
}

operators_page() {  # the program's table, with the number of cases of each operator
  awk -F'\t' 'NR == FNR {cases[$1 "::" $2] = $3; next}
    !/^\|/ {print; next}
    {split($0, cell, / *\| */)
     n = cell[2] "::" cell[3]
     count = n in cases ? cases[n] : cell[2] == "com.microsoft.nchwc" ? "varies" : "–"
     print $0 (cell[2] == "domain" ? " cases |" : cell[2] ~ /^-/ ? "---|" : " " count " |")}
    END {print "\nCases: models of the operator with seeded inputs and various attributes, whose results agree with"
         print "those of ONNX Runtime (`tests/interop/test_kernels.py`). Operators in channel blocks are compared in"
         print "models that ONNX Runtime makes for the processor at hand, so their number varies with it."}' \
    tests/interop/kernel_counts.tsv <("$quantize" operators --markdown)
}

cli_page >"$docs/cli.md"
"$quantize" help --format man >"$docs/man/quantize.1"
"$quantize" help --format recipe >"$docs/recipe.md"
operators_page >"$docs/supported-operators.md"
