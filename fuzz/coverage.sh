#!/bin/sh
# coverage.sh -- which lines and branches the fuzzers' inputs reach.
#
#   fuzz/coverage.sh BUILD CORPUS FLOORS FUZZER...
#
# Runs each fuzzer of BUILD, which counts, over CORPUS/FUZZER and the seeds, and prints a table of the files of
# these floors (of docs/architecture.md: "01"). BUILD/coverage.txt shows the lines.

set -eu
build=$1 corpus=$2 floors=$3
shift 3
cd "$(dirname "$0")/.."

mkdir -p "$build/seeds" "$build/profiles"
"${LUA:-lua5.4}" fuzz/seeds.lua "$build/seeds"
objects=$build/fuzz/$1 # the first is named alone, the others are options
for fuzzer in "$@"; do
  mkdir -p "$corpus/$fuzzer"
  LLVM_PROFILE_FILE="$build/profiles/$fuzzer.profraw" "$build/fuzz/$fuzzer" -runs=0 -max_len=2048 \
    "$corpus/$fuzzer" "$build/seeds/$fuzzer" > "$build/fuzz/$fuzzer.log" 2>&1 || { cat "$build/fuzz/$fuzzer.log"; exit 1; }
  if [ "$fuzzer" != "$1" ]; then objects="$objects -object $build/fuzz/$fuzzer"; fi
done
llvm-profdata merge -sparse -o "$build/coverage.profdata" "$build"/profiles/*.profraw

sources=$(sed -n "s/^| [$floors] | \`\([a-z0-9_]*\)\`.*/src\/\1.c/p" docs/architecture.md)
# shellcheck disable=SC2086
set -- $objects -instr-profile="$build/coverage.profdata" $(ls $sources 2> /dev/null)
llvm-cov show "$@" -show-branches=count > "$build/coverage.txt"
llvm-cov report "$@" | awk '/^-/ { next }
  { n = NF; if ($1 == "Filename") printf "%-14s %9s %9s %9s %9s\n", "file", "lines", "missed", "branches", "missed"
    else if (n >= 13) { sub(/.*\//, "", $1); printf "%-14s %9s %9s %9s %9s\n", $1, $10, $9, $13, $12 } }'
