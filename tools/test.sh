#!/bin/bash
# Installs what is missing, builds, and runs every test; can be run again.
#   tools/test.sh [--fast] [pytest arguments]
# --fast leaves out what is slow: C++ tests with the label and Python tests with the marker `slow`
# (docs/building.md). Of pytest's arguments only -m is taken: it tells the two parts from each other.
# Debian packages are named before they are installed (tools/setup.sh); Python packages, pinned in
# tests/interop/requirements.txt, go into build/venv. Tests that need the models of ../shared (or
# PTQ_SHARED) skip where it is absent.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
. tools/setup.sh

fast_only=
if [ "${1:-}" = --fast ]; then
  fast_only=1
  shift
fi
venv=build/venv
selected=

finish() {
  ptq_step "Summary"
  ptq_summary | tee build/test.parts
  local status=${PIPESTATUS[0]} part
  if [ -f build/ctest.log ]; then
    echo "C++:    $(grep -E '^[0-9]+% tests passed' build/ctest.log || echo "ctest did not finish")"
  fi
  for part in fast slow; do
    if [ -f build/pytest-$part.log ]; then
      echo "Python: $(tail -1 build/pytest-$part.log) [$part]"
    fi
  done
  if [ -f build/pytest-fast.log ] && [ -z "$selected" ]; then
    echo "The arguments select no Python test of what was run."
    exit 1
  fi
  if [ "$status" -ne 0 ]; then
    echo "Some tests failed."
    exit 1
  fi
  echo "All tests passed."
  exit 0
}

build() {
  cmake --preset release -DPTQ_TESTS=ON &&
    cmake --build build/release --parallel "$(ptq_jobs)"
}

cpp_tests() {
  local status=0
  ctest --test-dir build/release --output-on-failure --no-tests=error --parallel "$(nproc)" \
    ${fast_only:+-LE slow} >build/ctest.log 2>&1 || { status=$? && cat build/ctest.log; }
  grep -E '^[0-9]+% tests passed|^Total Test time|\*\*\*Skipped' build/ctest.log
  return "$status"
}

python_packages() {
  local stamp=$venv/requirements.installed
  if cmp -s tests/interop/requirements.txt "$stamp"; then
    echo "Installed already."
    return 0
  fi
  echo "Installing with pip: $(grep -v '^#' tests/interop/requirements.txt | tr '\n' ' ')"
  rm -rf "$venv"
  python3 -m venv "$venv" &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/interop/requirements.txt &&
    cp tests/interop/requirements.txt "$stamp"
}

python_tests() {  # PART MARKERS PYTEST_ARGUMENTS...
  local log=build/pytest-$1.log markers=$2 status=0
  shift 2
  PTQ_BUILD_DIR="$PWD/build/release" "$venv/bin/python" -m pytest tests -q -ra --durations=5 \
    --numprocesses "$(nproc)" --dist worksteal -p no:cacheprovider "$@" -m "$markers" 2>&1 |
    tee "$log" || status=$?
  # pytest says 5 where nothing is selected: the arguments may name tests of the other part alone.
  if [ "$status" -eq 5 ] && [ $# -gt 0 ]; then return 0; fi
  selected=1
  return "$status"
}

mkdir -p build
rm -f build/test.parts build/ctest.log build/pytest-fast.log build/pytest-slow.log
ptq_part "Packages" ptq_install build tests || finish
ptq_part "Build" build || finish
ptq_part "C++ tests" cpp_tests
ptq_part "Python packages (build/venv)" python_packages || finish
[ -d "${PTQ_SHARED:-../shared}" ] || echo "../shared is absent: tests that use its models skip."
ptq_part "Python tests, fast" python_tests fast "not slow" "$@"
[ -n "$fast_only" ] || ptq_part "Python tests, slow" python_tests slow slow "$@"
finish
