#!/bin/sh
# run.sh -- runs fuzzers one after the other, each from its seeds and from what it found before.
#
#   fuzz/run.sh BUILD SECONDS FUZZER...
#
# Prints what each has done. An input that one of them fails at is left in fuzz/findings/, and
# the status is 1. `BUILD/fuzz/FUZZER fuzz/findings/FILE` runs it again; FUZZ_TRACE=1 shows more.

set -u
build=$1 seconds=$2
shift 2
cd "$(dirname "$0")/.." || exit 2

mkdir -p fuzz/findings "$build/seeds" "$build/corpus"
"${LUA:-lua5.4}" fuzz/seeds.lua "$build/seeds" || exit 2

status=0
for fuzzer in "$@"; do
  mkdir -p "$build/corpus/$fuzzer" "$build/seeds/$fuzzer"
  set -- -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="fuzz/findings/$fuzzer-"
  if [ -e "fuzz/$fuzzer.dict" ]; then set -- "$@" -dict="fuzz/$fuzzer.dict"; fi
  log=$build/fuzz/$fuzzer.log
  if UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=quarantine_size_mb=32 \
      "$build/fuzz/$fuzzer" "$@" "$build/corpus/$fuzzer" "$build/seeds/$fuzzer" > "$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$fuzzer: $runs executions, nothing found"
  else
    status=1
    grep -v -e '^#[0-9]' -e '^stat::' "$log" | tail -n 60
    echo "$fuzzer: a finding; all of it is in $log"
  fi
done
exit $status
