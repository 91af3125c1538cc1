#!/bin/bash
# Feeds the fuzz targets (tests/fuzz) inputs that nobody made, under address and undefined-behaviour
# sanitizers, and keeps what ends in anything but a documented status.
#   tools/fuzz.sh [--seconds N] [--runs N] [--seed N] [TARGET...]
# Each target has N seconds (30; for a long run 1800 and more) or runs, as many targets at a time as
# there are processors. The seed is printed: the same one makes the same inputs. What was found lies in
# build/fuzz, and is run again with build/asan-ubsan/tests/fuzz/fuzz TARGET FILE.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
. tools/setup.sh

seconds=30
runs=1000000000
seed=$RANDOM
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --runs) runs=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    -*) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 2 ;;
    *) break ;;
  esac
done
program=build/asan-ubsan/tests/fuzz/fuzz
mkdir -p build/fuzz
if [ ! -x "$program" ] || [ "${PTQ_FUZZ_BUILD:-1}" = 1 ]; then
  cmake --preset asan-ubsan >build/asan-ubsan.log &&
    cmake --build build/asan-ubsan --parallel "$(ptq_jobs)" --target fuzz >>build/asan-ubsan.log ||
    { tail -60 build/asan-ubsan.log; exit 1; }
fi
if [ $# -gt 0 ]; then targets=("$@"); else
  mapfile -t targets < <(sed -n 's/^PTQ_FUZZ_TARGET(\(.*\))$/\1/p' tests/fuzz/targets.inc)
fi
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=8192:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I NAME sh -c '
  '"$program"' NAME --seconds '"$seconds"' --runs '"$runs"' --seed '"$seed"' --keep build/fuzz/NAME-'"$seed"' \
    >build/fuzz/NAME.log 2>&1 && tail -n 1 build/fuzz/NAME.log && exit 0
  echo "NAME: found build/fuzz/NAME-'"$seed"'"
  tail -n 40 build/fuzz/NAME.log
  exit 1'
