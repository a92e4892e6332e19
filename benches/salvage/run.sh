#!/usr/bin/env bash
# What salvage costs beside a check of the same store, and how long it takes on damaged ones.
#
#   benches/salvage/run.sh [--tiny] [--rounds N] [--write] [STORE...]
#
# Each store is written by a real nats-server, copied, and damaged by the example `flip_bits`, the same way every time. All
# runs are fresh processes with the page cache warm; seconds are the median over the rounds. A ratio is the median over
# the rounds of salvage's figure against that of `check` in the same round. --write puts the tables into
# docs/BENCHMARKS.md. STORE picks of P256 S2 P256S2: all of a gigabyte or more of records, which compressed are about a
# tenth of that on disk, so that most chunks hold a damaged place.
#
# JETSAM_BENCH_DIR keeps the undamaged stores for the next time; everything else is made in a temporary directory and
# removed (about 4 GB). Needs cargo and Go.
set -euo pipefail
cd "$(dirname "$0")/../.."

SEED=7
PLACES=1000
BAR_RATIO=2
BAR_SECONDS=10
tiny=
rounds=3
write=
chosen=()
while (($#)); do
  case $1 in
  --tiny) tiny=1 rounds=1 PLACES=10 ;;
  --rounds) rounds=$2 && shift ;;
  --write) write=1 ;;
  -*) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  *) chosen+=("$1") ;;
  esac
  shift
done

# store | what it is | gen flags
STORES='
P256   | 4 M × 256 B, plain | --msgs 4000000 --size 256 --subjects 8
S2     | 2 M × 512 B, S2    | --msgs 2000000 --size 512 --subjects 8 --compress s2
P256S2 | 4 M × 256 B, S2    | --msgs 4000000 --size 256 --subjects 8 --compress s2
'

say() { printf '%s\n' "$*" >&2; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

say "building"
cargo build --quiet --release --bin jetsam --example flip_bits
sh testdata/oracle/build.sh
target=${CARGO_TARGET_DIR:-target}
oracle=$target/oracle/oracle
jetsam=$target/release/jetsam
flip_bits=$target/release/examples/flip_bits

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dir=${JETSAM_BENCH_DIR:-$scratch/stores}
[[ -z $tiny ]] || dir=$dir/tiny

# make NAME FLAGS...: the store, unless it is there from an earlier run.
make_store() {
  local store=$dir/A/streams/$1 making=$dir/making/A/streams/$1
  shift
  [[ ! -d $store ]] || return 0
  say "making $store"
  rm -rf "$dir/making"
  mkdir -p "${making%/*}" "${store%/*}"
  "$oracle" gen big "$@" --account A --out "$making" >/dev/null
  mv "$making" "$store"
  rm -rf "$dir/making"
}

# seconds COMMAND...: how long it takes. Damage found is no failure of the command (codes 1 and 4).
seconds() {
  local before after code=0
  before=$(date +%s%N)
  "$@" >"$scratch/out" 2>&1 || code=$?
  after=$(date +%s%N)
  if ((code != 0 && code != 1 && code != 4)); then
    say "$* ended with $code:"
    cat "$scratch/out" >&2
    exit 1
  fi
  awk -v ns="$((after - before))" 'BEGIN { printf "%.3f\n", ns / 1e9 }'
}

salvage() {
  rm -rf "$scratch/new"
  seconds "$jetsam" salvage "$@" --out "$scratch/new"
}

# What copying the files and making them durable takes by itself.
floor() {
  rm -rf "$scratch/new"
  # shellcheck disable=SC2016
  seconds sh -c 'cp -r "$0" "$1" && sync -f "$1"' "$1" "$scratch/new"
}

verdict() {
  awk -v is="$1" -v bar="$2" -v tiny="$tiny" 'BEGIN { print tiny ? "(not judged)" : is <= bar ? "met" : "MISSED" }'
}

# column FILE NUMBER: the median of a column of figures.
column() { awk -v at="$2" '{ print $at }' "$1" | median; }

undamaged() {
  local store=$dir/A/streams/$1 about=$2 figures=$scratch/figures index check plain kept linked bare rest shared
  for index in "" --no-index; do
    : >"$figures"
    # shellcheck disable=SC2086
    seconds "$jetsam" check "$store" $index >/dev/null
    for ((round = 1; round <= rounds; round++)); do
      # shellcheck disable=SC2086
      check=$(seconds "$jetsam" check "$store" $index)
      # shellcheck disable=SC2086
      plain=$(seconds "$jetsam" check "$store" --policy salvage $index)
      # shellcheck disable=SC2086
      linked=$(salvage "$store" --link $index)
      # shellcheck disable=SC2086
      kept=$(salvage "$store" $index)
      bare=$(floor "$store")
      awk -v c="$check" -v p="$plain" -v l="$linked" -v k="$kept" -v b="$bare" \
        'BEGIN { print c, p, l, k, p / c, l / c, b }' >>"$figures"
      say "$1 ${index:-with its index} round $round: check $check s, by salvage $plain s, salvage --link $linked s," \
        "salvage $kept s, cp and sync $bare s"
    done
    rest=$(column "$figures" 5) shared=$(column "$figures" 6)
    printf '| %s%s | %.2f | %.2f | **%.1f×** | ≤ %d× %s | %.2f | **%.1f×** | ≤ %d× %s | %.2f | %.2f |\n' \
      "$about" "${index:+, no index}" "$(column "$figures" 1)" "$(column "$figures" 2)" \
      "$rest" "$BAR_RATIO" "$(verdict "$rest" "$BAR_RATIO")" \
      "$(column "$figures" 3)" "$shared" "$BAR_RATIO" "$(verdict "$shared" "$BAR_RATIO")" \
      "$(column "$figures" 4)" "$(column "$figures" 7)" >>"$scratch/undamaged"
  done
}

damaged() {
  local store=$dir/A/streams/$1 about=$2 kind copy figures=$scratch/figures check kept
  for kind in flips overwrites sectors; do
    copy=$scratch/damaged/A/streams/$1
    rm -rf "$scratch/damaged"
    mkdir -p "${copy%/*}"
    cp -r "$store" "$copy"
    "$flip_bits" "$copy" "$kind" "$PLACES" "$SEED" >/dev/null
    : >"$figures"
    for ((round = 1; round <= rounds; round++)); do
      check=$(seconds "$jetsam" check "$copy" --policy salvage)
      kept=$(salvage "$copy")
      printf '%s %s\n' "$check" "$kept" >>"$figures"
      say "$1 with $PLACES $kind round $round: check $check s, salvage $kept s"
    done
    check=$(column "$figures" 1) kept=$(column "$figures" 2)
    printf '| %s | %s %s | %.2f %s | %.2f %s |\n' "$about" "$PLACES" "$kind" "$check" \
      "$(verdict "$check" "$BAR_SECONDS")" "$kept" "$(verdict "$kept" "$BAR_SECONDS")" >>"$scratch/damaged"
  done
}

load_before=$(cut -d' ' -f1-3 /proc/loadavg)
while IFS='|' read -r name about generate; do
  read -r name <<<"$name" && read -r about <<<"$about"
  [[ -n $name ]] || continue
  [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $name "* ]] || continue
  if [[ -n $tiny ]]; then
    # A hundredth of everything but the bodies.
    generate=$(sed -E 's/([0-9]{5,})00( |$)/\1\2/g' <<<"$generate")
    about="$about (a hundredth)"
  fi
  # shellcheck disable=SC2086
  make_store "$name" $generate
  undamaged "$name" "$about"
  damaged "$name" "$about"
done <<<"$STORES"
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

tables() {
  printf '| store | check, s | check --policy salvage, s | ÷ check | bar | salvage --link, s | ÷ check | bar '
  printf '| salvage, s | cp -r and sync, s |\n'
  printf '|---|---|---|---|---|---|---|---|---|---|\n'
  cat "$scratch/undamaged"
  printf '\n| store | damage | check --policy salvage, s (bar %d) | salvage, s (bar %d) |\n' "$BAR_SECONDS" "$BAR_SECONDS"
  printf '|---|---|---|---|\n'
  cat "$scratch/damaged"
  printf '\n%s, %s cores, %s; load %s before, %s after; %s rounds; jetsam %s.\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -sr)" "$load_before" "$load_after" \
    "$rounds" "$(git rev-parse --short HEAD 2>/dev/null || echo 'of no commit')"
}

tables
if [[ -n $write ]]; then
  page=docs/BENCHMARKS.md
  tables >"$scratch/tables"
  awk -v tables="$scratch/tables" '
    /^<!-- end of salvage table -->$/ { skip = 0 }
    !skip { print }
    /^<!-- salvage table -->$/ { skip = 1; while ((getline line < tables) > 0) print line }
  ' "$page" >"$scratch/page"
  cat "$scratch/page" >"$page"
  say "written to $page"
fi
