#!/bin/bash
# Makes all packages of the committed source twice, in two directories of different names and without
# the compiler's cache, and compares what came out. Takes two whole builds.
#   tools/reproducible.sh [DIRECTORY]      where both are made and left (build/reproducible)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh
work=$(realpath -m "${1:-build/reproducible}")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH CCACHE_DISABLE=1

# shellcheck disable=SC2317  # ptq_part calls it
build() {  # DIRECTORY
  rm -rf "$1"
  git clone --quiet . "$1"
  (cd "$1" && tools/package.sh) >"$1.log" 2>&1 || { tail -20 "$1.log"; return 1; }
}

contents() {  # DIRECTORY -> checksum and name of all that must agree
  (cd "$1" && sha256sum build/package/tools/quantize/quantize build/static/lib/*.a \
    build/text_ffi/target/release/libptq_text_ffi.a build/packages/*)
}

first=$work/one second=$work/another-directory
mkdir -p "$work"
ptq_part "First build ($first)" build "$first" || exit 1
ptq_part "Second build ($second)" build "$second" || exit 1

ptq_step "Comparison"
status=0
differences=$(diff <(contents "$first") <(contents "$second") | sed -n 's/^> *[0-9a-f]*  //p') || true
if [ -z "$differences" ]; then
  contents "$first"
  echo "Both builds have the same bytes."
else
  echo "These differ:"
  echo "$differences" | while read -r file; do
    echo "  $file, from byte $(cmp "$first/$file" "$second/$file" | sed 's/.*byte \([0-9]*\),.*/\1/')"
  done
  status=1
fi
exit $status
