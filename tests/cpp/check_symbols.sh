#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the compiled library may hold and need. Any symbol with linkage that a file compiled for one instruction set emits
# besides its table and kernels could be the copy that the linker keeps for everybody, on every CPU. One that extends another
# has a table alone, and needs that one's kernels; one of wide vectors leaves the smallest layers to another.
#     check_symbols.sh NM READELF LIBRARY ISA_OBJECT...
set -euo pipefail
nm=$1 readelf=$2 library=$3
shift 3
failed=0
fail() {
  echo "$*" >&2
  failed=1
}

table='_ZN8undertow[0-9]+[a-z0-9]+5tableE' kernels='_ZN8undertow[0-9]+[a-z0-9]+7kernelsE'
for object in "$@"; do
  name=$(basename "$object")
  globals=$("$nm" -g --defined-only "$object" | awk '{print $2, $3}')
  undefined=$("$nm" -u "$object" | awk '{print "U", $2}' | grep -vxE 'U (memcpy|memmove|memset|_GLOBAL_OFFSET_TABLE_)' || true)
  tables=$(echo "$globals" | grep -cE "^[RDV] $table$" || true)
  sets=$(printf '%s\n' "$globals" "$undefined" | grep -cE "^[RDVU] $kernels$" || true)  # two: small layers are another's
  if [ "$tables" != 1 ] || [ "$sets" -lt 1 ] || [ "$sets" -gt 2 ] || [ -n "$(echo "$globals" | grep -vE "^[RDV] ($table|$kernels)$")" ]; then
    fail "$name: expected undertow::<isa>::table and a set of kernels, its own or another's; got: $globals $undefined"
  fi
  undefined=$(echo "$undefined" | grep -vE "^U $kernels$" || true)
  weak=$("$nm" "$object" | awk '$(NF-1) ~ /^[WwVvu]$/' || true)
  [ -z "$weak" ] || fail "$name: expected no weak symbols; got: $weak"
  [ -z "$undefined" ] || fail "$name: expected to need memcpy and memset only; got: $undefined"
done

# Members need each other, and functions that every C runtime has (clang makes memmove of loops and bcmp of memcmp). Linux
# tells an AArch64 program through getauxval what its CPU has.
undefined=$(comm -23 <("$nm" -u "$library" | awk 'NF == 2 {print $2}' | sort -u) <("$nm" -g --defined-only "$library" | awk 'NF == 3 {print $3}' | sort -u))
unexpected=$(echo "$undefined" | grep -vxE 'memcpy|memmove|memset|memcmp|bcmp|getauxval|_GLOBAL_OFFSET_TABLE_|' || true)
[ -z "$unexpected" ] || fail "$(basename "$library"): expected to need memcpy, memset and memcmp only; got: $unexpected"

sections=$("$readelf" -SW "$library" | sed -n 's/^ *\[ *[0-9]*\] //p')
initialisers=$(echo "$sections" | awk '$1 ~ /^\.(init_array|ctors|preinit_array)/')
[ -z "$initialisers" ] || fail "$(basename "$library"): expected no static initialisers; got: $initialisers"
# Name Type Address Offset Size: tables of pointers sit in .data.rel.ro, which is read-only once loaded.
writable=$(echo "$sections" | awk '$1 ~ /^\.(data|bss|tdata|tbss)/ && $1 !~ /^\.data\.rel\.ro/ && $5 !~ /^0+$/ {print $1, $5}')
[ -z "$writable" ] || fail "$(basename "$library"): expected no writable data; got: $writable"

[ "$failed" = 0 ] && echo "symbols of $(basename "$library") and $# instruction sets: as promised; needs: $(echo $undefined)"
exit $failed
