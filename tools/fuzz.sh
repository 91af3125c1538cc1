#!/bin/bash
# Feeds the fuzz targets (tests/fuzz) inputs that nobody made, under address and undefined-behaviour
# sanitizers, and keeps what ends in anything but a documented status.
#   tools/fuzz.sh [--coverage] [--seconds N] [--runs N] [--seed N] [TARGET...]
# Each target has N seconds (30; for a long run 1800 and more) or runs, as many targets at a time as
# there are processors. The seed is printed: the same one makes the same inputs. What was found lies in
# build/fuzz, and is run again with build/asan-ubsan/tests/fuzz/fuzz TARGET FILE.
# --coverage has libFuzzer make the inputs, for long runs: what reaches new code is kept from run to run
# in build/fuzz/corpus/TARGET, of which the smallest inputs that reach the same are left at the end.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
. tools/setup.sh

seconds=30
runs=1000000000
seed=$RANDOM
coverage=0
while [ $# -gt 0 ]; do
  case $1 in
    --coverage) coverage=1 && shift ;;
    --seconds) seconds=$2 && shift 2 ;;
    --runs) runs=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    -*) sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 2 ;;
    *) break ;;
  esac
done
preset=asan-ubsan
if [ "$coverage" = 1 ]; then
  preset=libfuzzer
  ptq_install build tests libfuzzer
fi
program=build/$preset/tests/fuzz/fuzz
mkdir -p build/fuzz/corpus
if [ ! -x "$program" ] || [ "${PTQ_FUZZ_BUILD:-1}" = 1 ]; then
  cmake --preset $preset >build/$preset.log &&
    cmake --build build/$preset --parallel "$(ptq_jobs)" --target fuzz >>build/$preset.log ||
    { tail -60 build/$preset.log; exit 1; }
fi
if [ $# -gt 0 ]; then targets=("$@"); else
  mapfile -t targets < <(sed -n 's/^PTQ_FUZZ_TARGET(\(.*\))$/\1/p' tests/fuzz/targets.inc)
fi
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=8192:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1
if [ "$coverage" = 1 ]; then
  export PROGRAM=$program SECONDS_EACH=$seconds SEED=$seed
  printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I NAME bash -c '
    kept=build/fuzz/corpus/NAME
    "$PROGRAM" NAME --corpus "$kept" -max_total_time="$SECONDS_EACH" -seed="$SEED" -timeout=30 \
      -rss_limit_mb=6000 -max_len=65536 -print_final_stats=1 -artifact_prefix=build/fuzz/NAME- \
      >build/fuzz/NAME.log 2>&1 ||
      { echo "NAME: found"; tail -n 60 build/fuzz/NAME.log; exit 1; }
    rm -rf "$kept.small" && mkdir "$kept.small" &&
      "$PROGRAM" NAME --corpus "$kept.small" -merge=1 "$kept" >>build/fuzz/NAME.log 2>&1 &&
      rm -rf "$kept" && mv "$kept.small" "$kept"
    echo "NAME: $(sed -n "s/^stat::number_of_executed_units: *//p" build/fuzz/NAME.log | head -1) runs," \
      "$(ls "$kept" | wc -l) inputs kept: clean"'
  exit
fi
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I NAME sh -c '
  '"$program"' NAME --seconds '"$seconds"' --runs '"$runs"' --seed '"$seed"' --keep build/fuzz/NAME-'"$seed"' \
    >build/fuzz/NAME.log 2>&1 && tail -n 1 build/fuzz/NAME.log && exit 0
  echo "NAME: found build/fuzz/NAME-'"$seed"'"
  tail -n 40 build/fuzz/NAME.log
  exit 1'
