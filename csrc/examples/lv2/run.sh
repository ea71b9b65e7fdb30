#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the plugin around a model and runs it without a sound card: lv2bench says how fast it is, jalv plays it under a JACK
# server whose sound card is a clock, and counts what came too late.
#     run.sh [MODEL.tow]     without a model: that of ../make_amp.py, for which Python needs the package undertow
#     PERIOD=64 SECONDS_PLAYED=5 RATE=48000 BUILD=build/lv2 run.sh amp.tow
# Needs cmake, a C++17 compiler, and on Debian: apt install lv2-dev lilv-utils jalv jackd2
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PERIOD=${PERIOD:-64} SECONDS_PLAYED=${SECONDS_PLAYED:-5} RATE=${RATE:-48000}
uri=urn:undertow:amp
die() {
  echo "run.sh: $*" >&2
  exit 1
}
for tool in cmake lv2bench jalv jackd; do
  command -v $tool >/dev/null || die "the program $tool is missing: apt install cmake lv2-dev lilv-utils jalv jackd2"
done

work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
build=${BUILD:-$work/build}

if [ $# -ge 1 ]; then
  [ -f "$1" ] || die "there is no file $1: expected a .tow of a mono model"
  model=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
else
  model=$work/amp.tow
  python3 "$here/../make_amp.py" "$model" || die "make_amp.py failed; give a model: run.sh amp.tow"
fi
{ cmake -S "$here" -B "$build" -DMODEL="$model" && cmake --build "$build" -j 2 && cmake --install "$build" --prefix "$work/lv2"; } \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it does not build"; }
# Hosts want LV2's own descriptions too.
export LV2_PATH=$work/lv2:/usr/local/lib/lv2:/usr/lib/lv2

frames=$((RATE * 100))
took=$(lv2bench -b "$PERIOD" -n $frames $uri | awk -v uri=$uri '$2 == uri {print $1}')
[ -n "$took" ] || die "lv2bench did not run $uri"
awk -v took="$took" -v period="$PERIOD" 'BEGIN {
  printf "real-time factor: %.0f (100 s of sound in %.2f s, in blocks of %d samples)\n", 100 / took, took, period }'

# A server in real-time mode where the system lets it: else it is late on its own account.
export JACK_DEFAULT_SERVER=undertow-$$ JACK_NO_AUDIO_RESERVATION=1
serve() {
  jackd "$@" --no-mlock -d dummy -r "$RATE" -p "$PERIOD" >"$work/jackd" 2>&1 &
  server=$!
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.3
    kill -0 $server 2>/dev/null || { server= && return 1; }
    jack_lsp >/dev/null 2>&1 && return 0
  done
  return 1
}
mode="real-time"
serve -R -P 50 || { mode="not real-time" && serve -r; } || { cat "$work/jackd" >&2; die "jackd does not start"; }

# What a host saves of the plugin, and gives it when a session is opened again.
mkdir "$work/session"
cat >"$work/session/state.ttl" <<TTL
@prefix lv2: <http://lv2plug.in/ns/lv2core#> .
@prefix pset: <http://lv2plug.in/ns/ext/presets#> .
<> a pset:Preset ; lv2:appliesTo <$uri> ;
   lv2:port [ lv2:symbol "gain" ; pset:value 6.0 ] , [ lv2:symbol "enabled" ; pset:value 1.0 ] .
TTL

# jalv reads commands until its input ends. Clients that come and go are late themselves: what counts is the time between.
late_in() {
  local before
  before=$(grep -ci xrun "$work/jackd" || true)
  sleep "$1"
  echo $(($(grep -ci xrun "$work/jackd" || true) - before))
}
alone=$(late_in "$SECONDS_PLAYED")
mkfifo "$work/commands"
jalv -l "$work/session" $uri <"$work/commands" >"$work/jalv" 2>&1 &
player=$!
exec 3>"$work/commands"
sleep 2
with=$(late_in "$SECONDS_PLAYED")
kill -0 $player 2>/dev/null || { cat "$work/jalv" >&2; die "jalv cannot run $uri"; }
printf 'controls\nmonitors\n' >&3
sleep 0.5
exec 3>&-
wait $player || { cat "$work/jalv" >&2; die "jalv cannot run $uri"; }
grep -q '^gain = 6\.0\|> gain = 6\.0' "$work/jalv" || { cat "$work/jalv" >&2; die "the gain of the saved session did not come back"; }
grep -q 'latency = ' "$work/jalv" || { cat "$work/jalv" >&2; die "the plugin reports no latency"; }
echo "xruns: $with in $SECONDS_PLAYED s with the plugin, $alone without it (JACK, $mode, dummy sound card, $PERIOD samples a period)"
