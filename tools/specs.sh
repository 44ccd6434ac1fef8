#!/bin/sh
# specs.sh -- runs spec files, each in a process of its own and JOBS (3) of them side by side:
# much of a spec's time is waiting, a crash ends one file and not the run, and no file sees
# what another left behind. Prints what busted prints of each file, whole and in one piece,
# and at the end `N passed, N failed` for all of them together.
#
#   specs.sh [busted's options] [files and directories]      (without any: spec)
#
# LUA is the interpreter; RUN stands before it (a checker such as valgrind).
# A --pattern is ours: which files of a directory are specs.

set -u
LUA=${LUA:-lua5.4}
pattern=_spec
options= files=
for word; do
  case $word in
    --pattern=*) pattern=${word#*=} ;;
    -*) options="$options $word" ;;
    *) files="$files $word" ;;
  esac
done

out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM

# The torture forms take longest: begun first, they end with the others.
for place in ${files:-spec/torture spec}; do
  if [ -d "$place" ]; then
    find "$place" -name node_modules -prune -o -name "*$pattern.lua" -print | sort
  else
    echo "$place"
  fi
done | awk '!seen[$0]++' > "$out/list"

began=$(date +%s)
# One file: its output in one piece, its counts for the sum; no counts means it did not get
# to its end (a crash, a syntax error in what it loads), which is a failure, too.
export LUA out options
xargs -n 1 -P "${JOBS:-3}" sh -c '
  log=$out/$(printf %s "$1" | tr / _)
  ${RUN-} "$LUA" tools/busted.lua $options "$1" > "$log" 2>&1
  status=$?
  counts=$(grep -aE "^[0-9]+ passed, [0-9]+ failed" "$log" | tail -n 1)
  grep -avE "^[0-9]+ passed, [0-9]+ failed|^[0-9.]+ seconds$" "$log" > "$log.said"
  case $counts in
    "") echo "  ERROR: $1 ended with status $status before its last test" >> "$log.said"
        counts="0 passed, 1 failed" ;;
    *", 0 failed"*)
        if [ $status -ne 0 ] && [ "${counts%% *}" != 0 ]; then
          echo "  ERROR: $1 passed, then ended with status $status" >> "$log.said"
          counts="0 passed, 1 failed"
        fi ;;
  esac
  echo "$counts" >> "$log.counts"
  cat "$log.said"
' - < "$out/list"

cat "$out"/*.counts 2> /dev/null | awk -v took=$(($(date +%s) - began)) '
  { passed += $1; failed += $3; skipped += $5 }
  END {
    print took " seconds"
    print passed + 0 " passed, " failed + 0 " failed" (skipped ? ", " skipped " skipped" : "")
    exit failed > 0 || passed == 0
  }'
