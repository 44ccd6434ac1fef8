#!/bin/sh
# run.sh -- runs fuzzers, each from its seeds and from what it found before.
#
#   [JOBS=1] fuzz/run.sh BUILD SECONDS RUNS FUZZER...
#
# JOBS of them side by side, each for so long (0: however long it takes) and so many executions (0: however
# many). Prints what each has done, and how many executions BUILD has seen of it in all. An input
# that one of them fails at is left in fuzz/findings/, and the status is 1.
# `BUILD/fuzz/FUZZER fuzz/findings/FILE` runs it again; FUZZ_TRACE=1 shows more.

set -u
build=$1 seconds=$2 runs=$3

# How many executions a log tells of; one that was cut short has none but its progress.
count() {
  sed -n -e 's/^stat::number_of_executed_units: *//p' -e 's/^#\([0-9]*\)[^0-9].*/\1/p' "$1" | sort -n | tail -n 1
}

run() {
  fuzzer=$1
  log=$build/fuzz/$fuzzer.log
  mkdir -p "$build/corpus/$fuzzer" "$build/seeds/$fuzzer" "$build/runs"
  set -- -max_total_time="$seconds" -max_len=2048 -entropic=0 -timeout=60 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="fuzz/findings/$fuzzer-"
  if [ "$runs" -gt 0 ]; then set -- "$@" -runs="$runs"; fi
  if [ -e "fuzz/$fuzzer.dict" ]; then set -- "$@" -dict="fuzz/$fuzzer.dict"; fi
  UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=quarantine_size_mb=32 \
    "$build/fuzz/$fuzzer" "$@" "$build/corpus/$fuzzer" "$build/seeds/$fuzzer" > "$log" 2>&1
  status=$?
  done=$(count "$log")
  sum=$((${done:-0} + $(cat "$build/runs/$fuzzer" 2> /dev/null || echo 0)))
  echo "$sum" > "$build/runs/$fuzzer"
  if [ $status -eq 0 ]; then
    echo "$fuzzer: ${done:-0} executions ($sum in all), nothing found"
  else
    grep -v -e '^#[0-9]' -e '^stat::' "$log" | tail -n 60
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "$fuzzer: a finding after ${done:-0} executions; all of it is in $log"
    if [ "$input" ]; then echo "  FUZZ_TRACE=1 $build/fuzz/$fuzzer $input"; fi
  fi
  return $status
}

if [ "${FUZZ_ONE:-}" ]; then
  run "$FUZZ_ONE" || exit 1
  exit
fi

shift 3
cd "$(dirname "$0")/.." || exit 2
mkdir -p fuzz/findings "$build/seeds"
"${LUA:-lua5.4}" fuzz/seeds.lua "$build/seeds" || exit 2
printf '%s\n' "$@" | xargs -P "${JOBS:-1}" -I NAME env FUZZ_ONE=NAME fuzz/run.sh "$build" "$seconds" "$runs" || exit 1
