#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the fuzz targets and runs them, each on one core, from the corpus of the repository and from what earlier runs left
# in their folder. Ends with a row for the table in README.md for each; fails if there was a finding.
#     tests/fuzz/run.sh [--seconds N] [--target tow|snapshot] [--dir FOLDER] [--seed N] [--choose]
#         --seconds N   how long to run each target: 600
#         --target T    this one alone
#         --dir FOLDER  for what runs leave: build/fuzz
#         --seed N      of the first inputs; 0, as without: another one each time
#         --choose      do not run: choose a new corpus from what runs have left, and write it into the repository
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=600
targets="tow snapshot"
folder=build/fuzz
choose=
seed=0
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=$2; shift 2 ;;
    --target) targets=$2; shift 2 ;;
    --dir) folder=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --choose) choose=1; shift ;;
    *) sed -n '3,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done

corpus_of() { [ "$1" = tow ] && echo tests/fuzz/corpus || echo tests/fuzz/snapshots; }
seeds_of() { [ "$1" = tow ] && echo tests/data/tow || true; }
bytes_of() { [ "$1" = tow ] && echo 240000 || echo 60000; }
# Twice the largest seed.
max_len_of() { [ "$1" = tow ] && echo 196608 || echo 16384; }

mkdir -p "$folder"
echo "building the fuzz targets ($folder/build.log)"
{ cmake --preset fuzz && cmake --build --preset fuzz; } >"$folder/build.log" 2>&1 || { tail -40 "$folder/build.log"; exit 1; }

# One process, which ends at a finding or when its time is over.
fuzz() {
  local target=$1 time=$2 log=$3 dir=$folder/$1
  # shellcheck disable=SC2046
  build/cpp-fuzz/tests/fuzz/fuzz_"$target" -max_len="$(max_len_of "$target")" -max_total_time="$time" -timeout=120 \
    -rss_limit_mb=4096 -seed="$seed" -print_final_stats=1 -artifact_prefix="$dir/findings/" "$dir/new" $(corpus_of "$target") \
    $(seeds_of "$target") >"$log" 2>&1
}

# Seconds of CPU that all fuzzers have taken (others may want it too), into cpu_seconds: a subshell would count its own.
count_cpu() {
  times >"$folder/times"
  cpu_seconds=$(awk -F '[ms ]+' 'END { print int($1 * 60 + $2 + $3 * 60 + $4) }' "$folder/times")
}

# What a run wrote last of a number.
last() { sed -n "s/.*$1\\([0-9][0-9]*\\).*/\\1/p" "$2" | tail -1; }

run() {
  local target=$1 dir=$folder/$1 begin=$SECONDS executions=0 edges=0 findings=0 left log before hundredths
  count_cpu
  before=$cpu_seconds
  mkdir -p "$dir/new" "$dir/findings"
  while left=$((seconds - (SECONDS - begin))) && [ "$left" -gt 0 ]; do
    log=$dir/$(date +%Y%m%d-%H%M%S).log
    echo "$target: $left s to go, log in $log"
    fuzz "$target" "$left" "$log" || {
      findings=$((findings + 1))
      grep -E '^tests/.*:[0-9]+: |^a team |ERROR|runtime error|Test unit written' "$log" | head -8
    }
    executions=$((executions + $(last 'number_of_executed_units: *' "$log" || echo 0)))
    edges=$(last 'cov: ' "$log")
    [ "$findings" -lt 20 ] || { echo "$target: 20 findings, that will do"; break; }
  done
  count_cpu
  hundredths=$(((cpu_seconds - before) / 36))
  rows+=$(printf '| %s | %s | %s | %d.%02d | %s | %s of %s | %s |' "$(date +%Y-%m-%d)" "$(git rev-parse --short HEAD)" \
    "$target" $((hundredths / 100)) $((hundredths % 100)) "$executions" "${edges:-0}" \
    "$(last '(' <(grep -o 'modules *([0-9]* inline' "$log"))" "$findings")$'\n'
  total=$((total + findings))
}

choose_corpus() {
  local target=$1 dir=$folder/$1 corpus
  corpus=$(corpus_of "$target")
  rm -rf "$dir/merged" "$dir/merge.txt"
  mkdir -p "$dir/new" "$dir/merged"
  # shellcheck disable=SC2046
  build/cpp-fuzz/tests/fuzz/fuzz_"$target" -merge=1 -merge_control_file="$dir/merge.txt" -max_len="$(max_len_of "$target")" \
    -timeout=120 "$dir/merged" $(seeds_of "$target") "$corpus" "$dir/new" >"$dir/merge.log" 2>&1
  python3 tests/fuzz/choose.py "$dir/merge.txt" "$corpus" --bytes "$(bytes_of "$target")" \
    --keep $(seeds_of "$target")
}

if [ -n "$choose" ]; then
  for target in $targets; do choose_corpus "$target"; done
  exit
fi
rows=
total=0
for target in $targets; do run "$target"; done
printf '\n| date | commit | target | CPU hours | executions | edges | findings |\n|---|---|---|---|---|---|---|\n%s' "$rows"
[ "$total" = 0 ] || { echo "$total findings in $folder/*/findings"; exit 1; }
