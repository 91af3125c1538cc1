#!/bin/bash
# Runs clang-tidy on the sources that changed, or on all of them.
#   tools/tidy.sh            what changed since the merge base with origin/main; where that is where we
#                            are, since a day before the last commit; PTQ_TIDY_BASE=COMMIT chooses
#   tools/tidy.sh --all      every source
# A changed header counts for the source of its name: all others see it through their own checks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh

base_commit() {
  local base head
  head=$(git rev-parse HEAD)
  base=${PTQ_TIDY_BASE:-$(git merge-base HEAD origin/main 2>/dev/null || true)}
  if [ -z "$base" ] || [ "$(git rev-parse "$base")" = "$head" ]; then
    base=$(git rev-list -1 --before="$(($(git log -1 --format=%ct) - 86400))" HEAD)
  fi
  echo "$base"
}

sources() {  # every source, or those that the changed files name
  local base=$1
  if [ -z "$base" ]; then
    git ls-files 'src/*.cc' 'tools/*.cc'
    return
  fi
  # A setting of the checks concerns everything.
  if ! git diff --quiet "$base" -- .clang-tidy; then
    sources ""
    return
  fi
  # Nothing is found anew where only comments changed.
  git diff --name-only --diff-filter=d -G'^[[:space:]]*[^/[:space:]]' "$base" -- \
    'include/*.h' 'src/*.h' 'src/*.cc' 'tools/*.cc' |
    sed -e 's|^include/ptq/|src/|' -e 's|\.h$|.cc|' | sort -u |
    while read -r file; do if [ -e "$file" ]; then echo "$file"; fi; done
}

base=
if [ "${1:-}" != --all ]; then base=$(base_commit); fi
mkdir -p build
cmake --preset tidy >build/tidy.log || { cat build/tidy.log; exit 1; }
mapfile -t files < <(sources "$base")
echo "clang-tidy: ${#files[@]} of $(git ls-files 'src/*.cc' 'tools/*.cc' | wc -l) sources${base:+, changed since $(git log -1 --format='%h (%cs)' "$base")}"
if [ ${#files[@]} -eq 0 ]; then exit 0; fi
# Several files are read as one, with their headers once. Where that fails, since two of them define
# the same name, each is read by itself. Only what was printed on failing is shown.
printf '%s\n' "${files[@]}" | python3 tools/tidy_batches.py build/tidy build/tidy/batches |
  xargs -P "$(nproc)" -I BATCH sh -c '
    out=$(clang-tidy-14 -p build/tidy/batches --quiet BATCH 2>/dev/null) && exit 0
    if echo "$out" | grep -q "clang-diagnostic-error"; then
      out=$(sed -n "s/^#include \"\(.*\)\"/\1/p" BATCH |
        xargs clang-tidy-14 -p build/tidy --quiet 2>/dev/null) && exit 0
    fi
    echo "$out"
    exit 1'
