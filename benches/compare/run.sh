#!/usr/bin/env bash
# How fast the Go server and jetsam rebuild the same store from its blocks, without index.db.
#
#   benches/compare/run.sh [--tiny] [--rounds N] [--write] [STORE...]
#
# Both sides open the same directory in turn, each time in a fresh process and timing only the open
# call, with the page cache warm. A ratio is the median over the rounds of Go's figure against ours in
# the same round, so that a load that comes and goes hits both. --write puts the tables into
# docs/BENCHMARKS.md. STORE picks of P256 DELETED THIRD TTL P16 SUBJ S2 CHACHA
# AES.
#
# JETSAM_BENCH_DIR keeps the stores (about 7 GB) for the next time; by default they are made in a
# temporary directory and removed. Needs cargo and Go.
set -euo pipefail
cd "$(dirname "$0")/../.."

KEY=benchkey
tiny=
rounds=5
write=
chosen=()
while (($#)); do
  case $1 in
  --tiny) tiny=1 rounds=2 ;;
  --rounds) rounds=$2 && shift ;;
  --write) write=1 ;;
  -*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  *) chosen+=("$1") ;;
  esac
  shift
done

# store | what it is | gen flags | time flags | bar: times as fast as Go | bar: peak memory
STORES='
P256   | 4 M × 256 B, plain                | --msgs 4000000 --size 256 --subjects 8 |                               | 4 | 64 MiB
DELETED | 4 M × 256 B, 5 % deleted at random | --msgs 4000000 --size 256 --subjects 8 --delete-share 0.05 |                               | 4 | 64 MiB
THIRD  | 4 M × 256 B, a third deleted at random | --msgs 4000000 --size 256 --subjects 8 --delete-share 0.405 |        | 4 | 64 MiB
TTL    | 4 M × 256 B, 10 % with a TTL        | --msgs 4000000 --size 256 --subjects 8 --ttl-share 0.1 |              | 4 | 64 MiB
P16    | 10 M × 16 B, plain                  | --msgs 10000000 --size 16 --subjects 8 |                               | 4 | 64 MiB
SUBJ   | 4 M × 128 B over 2.5 M subjects     | --msgs 4000000 --size 128 --subjects 2500000    |                               | 4 | half
S2     | 2 M × 512 B, S2                     | --msgs 2000000 --size 512 --subjects 8 --compress s2         |                               | 8 | 64 MiB
CHACHA | 4 M × 256 B, ChaCha20               | --msgs 4000000 --size 256 --subjects 8 --key KEY --cipher chacha | --key KEY --cipher chacha | 6 | 64 MiB
AES    | 4 M × 256 B, AES-CTR                | --msgs 4000000 --size 256 --subjects 8 --key KEY --cipher aes    | --key KEY --cipher aes    | 3 | 64 MiB
'

say() { printf '%s\n' "$*" >&2; }

# The number behind "NAME": in a line of JSON, the first of a list.
field() { sed -n "s/.*\"$1\":\[\{0,1\}\([0-9.]*\).*/\1/p"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

say "building"
cargo build --quiet --release --example timing
sh testdata/oracle/build.sh
target=${CARGO_TARGET_DIR:-target}
oracle=$target/oracle/oracle
timing=$target/release/examples/timing

if [[ -n ${JETSAM_BENCH_DIR:-} ]]; then
  dir=$JETSAM_BENCH_DIR
  [[ -z $tiny ]] || dir=$dir/tiny
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi
rows=$(mktemp)

# make NAME FLAGS...: the store, unless it is there from an earlier run. A name in the making ends in
# ".part", so that an interrupted run leaves no half store behind to be measured.
make_store() {
  local store=$dir/A/streams/$1
  shift
  [[ ! -d $store ]] || return 0
  say "making $store"
  mkdir -p "$dir/making/A/streams"
  rm -rf "$dir/making/A/streams/${store##*/}"
  "$oracle" gen big "$@" --account A --out "$dir/making/A/streams/${store##*/}" >/dev/null
  mkdir -p "$dir/A/streams"
  mv "$dir/making/A/streams/${store##*/}" "$store"
  rm -rf "$dir/making"
}

compare() {
  local name=$1 about=$2 flags=$3 bar=$4 memory_bar=$5
  local store=$dir/A/streams/$name key=() go ours scratch
  [[ $flags != *--key* ]] || key=(--key "$KEY")
  scratch=$(mktemp -d)
  # Warms the page cache and drops index.db before the first round.
  # shellcheck disable=SC2086
  "$oracle" time "$store" --account A --runs 1 --no-index $flags >/dev/null
  "$timing" "$store" --account A "${key[@]}" >/dev/null
  for ((round = 1; round <= rounds; round++)); do
    # shellcheck disable=SC2086
    go=$("$oracle" time "$store" --account A --runs 1 --no-index $flags)
    ours=$("$timing" "$store" --account A "${key[@]}")
    if [[ $(field messages <<<"$go") != "$(field messages <<<"$ours")" ||
      $(field bytes <<<"$go") != "$(field bytes <<<"$ours")" ]]; then
      say "$name: the two sides disagree: $go and $ours"
      exit 1
    fi
    printf '%s %s %s %s\n' "$(field open_ns <<<"$go")" "$(field peak_rss_kb <<<"$go")" \
      "$(field seconds <<<"$ours")" "$(field peak_rss_kb <<<"$ours")" >>"$scratch/rounds"
    say "$name round $round: Go $(field open_ns <<<"$go" | awk '{ printf "%.3f", $1 / 1e9 }') s, jetsam $(field seconds <<<"$ours") s"
  done
  local go_s ours_s ratio go_mib ours_mib
  go_s=$(awk '{ print $1 / 1e9 }' "$scratch/rounds" | median)
  ours_s=$(awk '{ print $3 }' "$scratch/rounds" | median)
  ratio=$(awk '{ print $1 / 1e9 / $3 }' "$scratch/rounds" | median)
  go_mib=$(awk '{ print $2 / 1024 }' "$scratch/rounds" | median)
  ours_mib=$(awk '{ print $4 / 1024 }' "$scratch/rounds" | median)
  rm -rf "$scratch"
  local memory_text="< 64 MiB"
  [[ $memory_bar != half ]] || memory_text="≤ ½ of Go"
  awk -v about="$about" -v go="$go_s" -v ours="$ours_s" -v ratio="$ratio" -v bar="$bar" \
    -v go_mib="$go_mib" -v ours_mib="$ours_mib" -v memory_text="$memory_text" -v tiny="$tiny" '
  function verdict(met) { return tiny ? "(not judged)" : met ? "met" : "MISSED" }
  BEGIN {
    memory_met = (memory_text ~ /64/) ? (ours_mib < 64) : (ours_mib <= go_mib / 2)
    printf "| %s | %.3f | %.3f | **%.1f×** | %d× %s | %.0f | %.0f | %.1f× | %s %s |\n", about, go, ours, ratio, bar,
      verdict(ratio >= bar), go_mib, ours_mib, go_mib / ours_mib, memory_text, verdict(memory_met)
  }' >>"$rows"
}

load_before=$(cut -d' ' -f1-3 /proc/loadavg)
while IFS='|' read -r name about generate flags bar memory_bar; do
  read -r name <<<"$name" && read -r about <<<"$about" && read -r memory_bar <<<"$memory_bar"
  [[ -n $name ]] || continue
  [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $name "* ]] || continue
  if [[ -n $tiny ]]; then
    # A hundredth of everything but the bodies.
    generate=$(sed -E 's/([0-9]{5,})00( |$)/\1\2/g' <<<"$generate")
    about="$about (a hundredth)"
  fi
  generate=${generate//KEY/$KEY} flags=${flags//KEY/$KEY}
  # shellcheck disable=SC2086
  make_store "$name" $generate
  compare "$name" "$about" "$flags" "${bar// /}" "$memory_bar"
done <<<"$STORES"
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

table() {
  printf '| store | Go, s | jetsam, s | Go ÷ jetsam | bar | Go, peak MiB | jetsam, peak MiB | Go ÷ jetsam | bar |\n'
  printf '|---|---|---|---|---|---|---|---|---|\n'
  cat "$rows"
  printf '\n'
  printf '%s, %s cores, %s; load %s before, %s after; %s rounds; %s; jetsam %s.\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -sr)" "$load_before" "$load_after" \
    "$rounds" "$(go version | cut -d' ' -f3)" "$(git rev-parse --short HEAD 2>/dev/null || echo 'of no commit')"
}

table
if [[ -n $write ]]; then
  page=docs/BENCHMARKS.md
  fresh=$(mktemp)
  {
    sed '/^<!-- table -->$/q' "$page"
    table
    sed -n '/^<!-- end of table -->$/,$p' "$page"
  } >"$fresh"
  cat "$fresh" >"$page"
  rm -f "$fresh"
  say "written to $page"
fi
rm -f "$rows"
