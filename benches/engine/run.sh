#!/usr/bin/env bash
# The engine against the Go server's own file store, workload by workload.
#
#   benches/engine/run.sh [--tiny] [--divide N] [--rounds N] [--write] [ROW...]
#
# Both sides get the same request, with the same random numbers behind it, each in a fresh process: the engine by
# examples/ops, the store of nats-server v2.15.3 by `oracle ops`. They take turns, the one that begins changing from round
# to round, and their answers are compared (messages left, sums of what was read or removed). Seconds are the median over
# the rounds, a ratio is the median of the ratios of the rounds. --divide N runs an Nth of the messages; --tiny a
# hundredth, in two rounds. --write puts the table into docs/BENCHMARKS.md, once all rows were measured in full. ROW picks
# of those below.
#
# Stores are made in $JETSAM_BENCH_DIR, or in a temporary directory, and removed (about 1 GB): what a sync costs is a
# matter of the disk that this directory is on. Needs cargo and Go.
set -euo pipefail
cd "$(dirname "$0")/../.."

divide=1
rounds=5
write=
chosen=()
while (($#)); do
  case $1 in
  --tiny) divide=100 rounds=2 ;;
  --divide) divide=$2 && shift ;;
  --rounds) rounds=$2 && shift ;;
  --write) write=1 ;;
  -*) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  *) chosen+=("$1") ;;
  esac
  shift
done
[[ -z $write || (${#chosen[@]} -eq 0 && $divide -eq 1) ]] || { echo "--write wants all rows in full" >&2 && exit 2; }

# row | what it is | workload | messages | bytes of a body | subjects | flush | sync | MiB of blocks that the engine may keep
# "each" hands every message to the operating system before the next; "batch" may gather. Go keeps what it likes; the
# engine 128 MiB where nothing is said.
ROWS='
EACH16    | append 16 B, each flushed                  | append        | 300000  | 16   | 100    | each  |
EACH256   | append 256 B, each flushed                 | append        | 300000  | 256  | 100    | each  |
EACH4K    | append 4 KiB, each flushed                 | append        | 50000   | 4096 | 100    | each  |
BATCH16   | append 16 B, gathered                      | append        | 1000000 | 16   | 100    | batch |
BATCH256  | append 256 B, gathered                     | append        | 1000000 | 256  | 100    | batch |
BATCH4K   | append 4 KiB, gathered                     | append        | 100000  | 4096 | 100    | batch |
SYNC      | append 256 B, each synced                  | append        | 2000    | 256  | 100    | each  | always
KV        | append 128 B over 10,000 keys, one of each kept | kv       | 300000  | 128  | 10000  | batch |
OVERKV    | the same, 600,000 keys, of more than the cache takes | kv        | 1000000 | 256  | 600000 | batch |
LOAD      | read by sequence, at random                | load          | 300000  | 256  | 100    | batch |
OVER      | the same, 64 KiB, of more than the cache takes | load      | 3000    | 65536 | 100   | batch |
OVERGET   | the same, 256 B, of more than the cache takes  | load          | 800000  | 256  | 100    | batch |
LAST      | read the last of a subject, at random      | load_last     | 500000  | 256  | 10000  | batch |
OVERLAST  | the same, 600,000 subjects, of more than the cache takes | load_last | 600000 | 256 | 600000 | batch |
SCAN      | read all in order                          | scan          | 1000000 | 256  | 100    | batch |
FILTERED  | read ten subjects of 100 in order, the cache 256 MiB | scan_filtered | 500000 | 256 | 100 | batch | | 256
REMOVE    | remove half, at random                     | remove        | 300000  | 256  | 100    | batch |
OVERTAKE  | the same, of more than the cache takes         | remove        | 500000  | 256  | 100    | batch |
PURGE     | purge subject by subject, 1,000 of them    | purge_subject | 100000  | 256  | 1000   | batch |
REOPEN    | open with an index                         | reopen        | 1000000 | 256  | 100000 | batch |
REBUILD   | open without an index                      | rebuild       | 1000000 | 256  | 100000 | batch |
'

say() { printf '%s\n' "$*" >&2; }
# The number behind "NAME": in a line of JSON.
field() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

say "building"
cargo build --quiet --release --example ops
sh testdata/oracle/build.sh
target=${CARGO_TARGET_DIR:-target}
oracle=$target/oracle/oracle
ours=$target/release/examples/ops

[[ -z ${JETSAM_BENCH_DIR:-} ]] || mkdir -p "$JETSAM_BENCH_DIR"
dir=$(mktemp -d ${JETSAM_BENCH_DIR:+-p "$JETSAM_BENCH_DIR"})
trap 'rm -rf "$dir"' EXIT

is_chosen() { [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $1 "* ]]; }

# perform SIDE REQUEST: the answer of one side; the run ends where it is none.
perform() {
  local command=("$ours") answer
  [[ $1 == ours ]] || command=("$oracle" ops)
  answer=$("${command[@]}" <<<"$2")
  [[ -n $(field elapsed_ns <<<"$answer") ]] || { say "$1: $answer" && exit 1; }
  printf '%s\n' "$answer"
}

# measure NAME ABOUT REQUEST: a row of the table.
measure() {
  local name=$1 about=$2 request=$3 scratch=$dir/rounds go mine
  : >"$scratch"
  for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then
      go=$(perform go "$request") && mine=$(perform ours "$request")
    else
      mine=$(perform ours "$request") && go=$(perform go "$request")
    fi
    if [[ $(field check <<<"$go") != "$(field check <<<"$mine")" ]]; then
      say "$name: the two sides disagree: $go and $mine"
      exit 1
    fi
    printf '%s %s\n' "$(field elapsed_ns <<<"$go")" "$(field elapsed_ns <<<"$mine")" >>"$scratch"
    say "$name round $round: $(tail -1 "$scratch" | awk '{ printf "Go %.4f s, jetsam %.4f s, %.2f×", $1 / 1e9, $2 / 1e9, $1 / $2 }')"
  done
  awk -v about="$about" -v n="$messages" -v go="$(awk '{ print $1 / 1e9 }' "$scratch" | median)" \
    -v mine="$(awk '{ print $2 / 1e9 }' "$scratch" | median)" -v ratio="$(awk '{ print $1 / $2 }' "$scratch" | median)" \
    -v least="$(awk '{ print $1 / $2 }' "$scratch" | sort -g | head -1)" \
    -v most="$(awk '{ print $1 / $2 }' "$scratch" | sort -g | tail -1)" '
  BEGIN { printf "| %s | %d | %.3f | %.3f | **%.2f×** | %.2f to %.2f |\n", about, n, go, mine, ratio, least, most }'
}

rows=$(mktemp -p "$dir")
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
while IFS='|' read -r name about workload messages size subjects flush sync cache; do
  read -r name <<<"$name" && read -r about <<<"$about"
  [[ -n $name ]] && is_chosen "$name" || continue
  workload=${workload// /} size=${size// /} flush=${flush// /} sync=${sync// /} cache=${cache// /}
  messages=$((messages / divide)) subjects=$((subjects < messages ? subjects : messages))
  request=$(printf '{"op":"bench","dir":"%s/store","workload":"%s","n":%d,"size":%d,"subjects":%d,"seed":7,"flush":"%s"%s%s}' \
    "$dir" "$workload" "$messages" "$size" "$subjects" "$flush" "${sync:+,\"sync\":\"$sync\"}" \
    "${cache:+,\"cache_bytes\":$((cache * 1024 * 1024))}")
  measure "$name" "$about" "$request" >>"$rows"
done <<<"$ROWS"
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

table() {
  printf '| workload | messages | Go, s | jetsam, s | Go ÷ jetsam | rounds |\n'
  printf '|---|---|---|---|---|---|\n'
  cat "$rows"
  printf '\n%s, %s cores, %s; load %s before, %s after; %s rounds; %s; jetsam %s.\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -sr)" "$load_before" "$load_after" \
    "$rounds" "$(go version | cut -d' ' -f3)" "$(git rev-parse --short HEAD 2>/dev/null || echo 'of no commit')"
}

table
if [[ -n $write ]]; then
  page=docs/BENCHMARKS.md
  fresh=$(mktemp -p "$dir")
  {
    sed '/^<!-- engine table -->$/q' "$page"
    table
    sed -n '/^<!-- end of engine table -->$/,$p' "$page"
  } >"$fresh"
  cat "$fresh" >"$page"
  say "written to $page"
fi
