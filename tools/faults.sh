#!/bin/bash
# Lets every system call fail that the tests of faults know (tests/faults), and writes the table of
# what then happens into docs/faults.md. Needs what tools/test.sh has built and installed.
#   tools/faults.sh [pytest arguments]     -m "not slow": only some of the calls
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT
python=${PTQ_PYTHON:-build/venv/bin/python}
PTQ_FAULTS_TABLE="$notes" PTQ_BUILD_DIR="${PTQ_BUILD_DIR:-$PWD/build/release}" "$python" -m pytest \
  tests/faults -q -ra -p no:cacheprovider --numprocesses "$(nproc)" --dist worksteal "$@"
python3 tests/faults/page.py "$notes" docs/faults.md
