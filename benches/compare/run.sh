#!/usr/bin/env bash
# How fast the Go server and jetsam open the same store, without index.db and with it, and what the other verbs cost.
#
#   benches/compare/run.sh [--tiny] [--rounds N] [--write] [ROW...]
#
# Both sides open the same directory in turn, each time in a fresh process and timing only the open
# call, with the page cache warm. A ratio is the median over the rounds of Go's figure against ours in
# the same round, so that a load that comes and goes hits both. The bound is what tools/bound.rs takes
# in the same round for reading, decoding, parsing, hashing and one look-up a message. --write puts the
# tables into docs/BENCHMARKS.md, once all rows were measured. ROW picks of P256 DELETED THIRD TTL P16
# SUBJ S2 CHACHA AES LIMIT INDEX MANY VERBS.
#
# JETSAM_BENCH_DIR keeps the stores (about 9 GB) for the next time; by default they are made in a
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
  -*) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  *) chosen+=("$1") ;;
  esac
  shift
done
[[ -z $write || ${#chosen[@]} -eq 0 ]] || { echo "--write wants all rows" >&2 && exit 2; }
# shellcheck source=benches/compare/measure.sh
. benches/compare/measure.sh

# row | what it is | without index.db, the same with messages to remove, or with it | gen flags | time flags | bar: times as fast as Go | bar: peak memory
STORES='
P256    | 4 M × 256 B, plain                     | blocks | --msgs 4000000 --size 256 --subjects 8                             |                           | 7   | 64 MiB
DELETED | 4 M × 256 B, 5 % deleted at random     | blocks | --msgs 4000000 --size 256 --subjects 8 --delete-share 0.05         |                           | 8   | 64 MiB
THIRD   | 4 M × 256 B, a third deleted at random | blocks | --msgs 4000000 --size 256 --subjects 8 --delete-share 0.405        |                           | 8   | 64 MiB
TTL     | 4 M × 256 B, 10 % with a TTL           | blocks | --msgs 4000000 --size 256 --subjects 8 --ttl-share 0.1             |                           | 9   | 64 MiB
P16     | 10 M × 16 B, plain                     | blocks | --msgs 10000000 --size 16 --subjects 8                             |                           | 8   | 64 MiB
SUBJ    | 4 M × 128 B over 2.5 M subjects        | blocks | --msgs 4000000 --size 128 --subjects 2500000                       |                           | 8   | half
S2      | 2 M × 512 B, S2                        | blocks | --msgs 2000000 --size 512 --subjects 8 --compress s2               |                           | 12  | 64 MiB
CHACHA  | 4 M × 256 B, ChaCha20                  | blocks | --msgs 4000000 --size 256 --subjects 8 --key KEY --cipher chacha   | --key KEY --cipher chacha | 20  | 64 MiB
AES     | 4 M × 256 B, AES-CTR                   | blocks | --msgs 4000000 --size 256 --subjects 8 --key KEY --cipher aes      | --key KEY --cipher aes    | 6.5 | 64 MiB
LIMIT   | 1 M × 128 B over 100,000 subjects, limit of 5 each set afterwards | removing | --msgs 1000000 --size 128 --subjects 100000 --lower-limit 5 |         | 3   | half
INDEX   | sound index with 10⁶ subjects          | index  | --msgs 1400000 --size 128 --subjects 2000000                       |                           | 4   | Go
'

say "building"
cargo build --quiet --release --bin jetsam --example timing --example bound
sh testdata/oracle/build.sh
target=${CARGO_TARGET_DIR:-target}
oracle=$target/oracle/oracle
timing=$target/release/examples/timing
bound=$target/release/examples/bound
jetsam=$target/release/jetsam

if [[ -n ${JETSAM_BENCH_DIR:-} ]]; then
  dir=$JETSAM_BENCH_DIR
  [[ -z $tiny ]] || dir=$dir/tiny
  mkdir -p "$dir"
else
  dir=$(mktemp -d)
fi
opens=$(mktemp)
others=$(mktemp)
clean_up() {
  rm -rf "$opens" "$others" "$dir/making" "$dir/copy"
  [[ -n ${JETSAM_BENCH_DIR:-} ]] || rm -rf "$dir"
}
trap clean_up EXIT

is_chosen() { [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $1 "* ]]; }

# A hundredth of everything but the bodies, where the run is to be tiny.
scaled() {
  if [[ -z $tiny ]]; then cat; else sed -E 's/([0-9]{5,})00( |$)/\1\2/g'; fi
}
about_scaled() { printf '%s%s' "$1" "${tiny:+ (a hundredth)}"; }

load_before=$(cut -d' ' -f1-3 /proc/loadavg)
while IFS='|' read -r name about kind generate flags bar memory_bar; do
  read -r name <<<"$name" && read -r about <<<"$about" && read -r kind <<<"$kind" && read -r memory_bar <<<"$memory_bar"
  [[ -n $name ]] && is_chosen "$name" || continue
  generate=$(scaled <<<"${generate//KEY/$KEY}") flags=${flags//KEY/$KEY}
  # shellcheck disable=SC2086
  make_store "A/streams/$name" $generate
  compare "$name" "$(about_scaled "$about")" "$kind" "$flags" "${bar// /}" "$memory_bar" >>"$opens"
done <<<"$STORES"
if is_chosen MANY; then
  many "$([[ -n $tiny ]] && echo 10 || echo 1000)" 0.15 >>"$opens"
fi
if is_chosen VERBS; then
  # shellcheck disable=SC2046
  make_store A/streams/VERBS $(scaled <<<'--msgs 2000000 --size 256 --subjects 8')
  verbs "$(about_scaled '2 M × 256 B, plain')" >>"$others"
fi
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

table() {
  printf '| store | Go, s | jetsam, s | Go ÷ jetsam | bar | bound, s, and its share of our time | Go, peak MiB | jetsam, peak MiB | bar |\n'
  printf '|---|---|---|---|---|---|---|---|---|\n'
  cat "$opens"
  printf '\n'
  if [[ -s $others ]]; then
    printf '| verb, on %s | s | ÷ check | bar |\n|---|---|---|---|\n' "$(about_scaled '2 M × 256 B, plain, with its index')"
    cat "$others"
    printf '\n'
  fi
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
