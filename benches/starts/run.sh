#!/usr/bin/env bash
# How long a start is foretold to take, and how long a real nats-server v2.15.3 takes.
#
#   benches/starts/run.sh [--rounds N] [--write] [STORE...]
#
# Stores of every kind, with a fresh index.db, a stale one, or none. `preflight` foretells, then the server's open call is
# timed, with the page cache warm. Both by processor time, the server's garbage collector included and with GOMAXPROCS=1, so
# that other work on the machine does not count; of the rounds the quickest. --write puts the table into docs/BENCHMARKS.md.
#
# JETSAM_BENCH_DIR keeps the stores (about 3 GB) for the next time; by default they are made in a temporary directory and
# removed. Needs cargo and Go.
set -euo pipefail
cd "$(dirname "$0")/../.."

KEY=benchkey
rounds=3
write=
chosen=()
while (($#)); do
  case $1 in
  --rounds) rounds=$2 && shift ;;
  --write) write=1 ;;
  -*) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  *) chosen+=("$1") ;;
  esac
  shift
done

# store | what it is | gen flags
STORES='
SMALL | 50,000 × 256 B                        | --msgs 50000 --size 256 --subjects 8
P16   | 3 M × 16 B                            | --msgs 3000000 --size 16 --subjects 8
P256  | 1.5 M × 256 B                         | --msgs 1500000 --size 256 --subjects 8
P4K   | 150,000 × 4 KiB                       | --msgs 150000 --size 4096 --subjects 8
SUBM  | 1 M × 128 B over 20,000 subjects      | --msgs 1000000 --size 128 --subjects 20000
SUBJ  | 1 M × 128 B over 500,000 subjects     | --msgs 1000000 --size 128 --subjects 500000
IDX   | 1.5 M × 16 B over 1.5 M subjects      | --msgs 1500000 --size 16 --subjects 1500000
TTL   | 400,000 × 128 B, half with a TTL      | --msgs 400000 --size 128 --subjects 8 --ttl-share 0.5
S512  | 500,000 × 512 B, S2                   | --msgs 500000 --size 512 --subjects 8 --compress s2
S64   | 1.5 M × 64 B, S2                      | --msgs 1500000 --size 64 --subjects 8 --compress s2
C256  | 400,000 × 256 B, ChaCha20             | --msgs 400000 --size 256 --subjects 8 --key KEY --cipher chacha
C4K   | 40,000 × 4 KiB, ChaCha20              | --msgs 40000 --size 4096 --subjects 8 --key KEY --cipher chacha
C16S  | 500,000 × 16 B over 100,000 subjects, ChaCha20 | --msgs 500000 --size 16 --subjects 100000 --key KEY --cipher chacha
A256  | 800,000 × 256 B, AES-CTR              | --msgs 800000 --size 256 --subjects 8 --key KEY --cipher aes
A4K   | 80,000 × 4 KiB, AES-CTR               | --msgs 80000 --size 4096 --subjects 8 --key KEY --cipher aes
SC    | 300,000 × 512 B, S2 and ChaCha20      | --msgs 300000 --size 512 --subjects 8 --compress s2 --key KEY --cipher chacha
SA    | 300,000 × 512 B, S2 and AES-CTR       | --msgs 300000 --size 512 --subjects 8 --compress s2 --key KEY --cipher aes
X1    | *250,000 × 1 KiB over 5,000 subjects, S2*              | --msgs 250000 --size 1024 --subjects 5000 --compress s2
X2    | *200,000 × 2 KiB over 50,000 subjects, AES-CTR*        | --msgs 200000 --size 2048 --subjects 50000 --key KEY --cipher aes
X3    | *600,000 × 100 B over 1,000 subjects, S2 and ChaCha20* | --msgs 600000 --size 100 --subjects 1000 --compress s2 --key KEY --cipher chacha
X4    | *20,000 × 32 KiB*                                      | --msgs 20000 --size 32768 --subjects 100
'

say() { printf '%s\n' "$*" >&2; }

# The number behind "NAME": in a line of JSON; the least of a list.
field() { sed -n "s/.*\"$1\":\[\{0,1\}\([0-9.,]*\).*/\1/p" | tr ',' '\n' | sed '/^$/d' | sort -g | head -1; }

say "building"
cargo build --quiet --profile live --example timing
sh testdata/oracle/build.sh
target=${CARGO_TARGET_DIR:-target}
oracle=$target/oracle/oracle
timing=$target/live/examples/timing

if [[ -n ${JETSAM_BENCH_DIR:-} ]]; then
  dir=$JETSAM_BENCH_DIR
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi
rows=$(mktemp)

# make_store PLACE NAME FLAGS...: the store PLACE/A/streams/NAME, unless it is there.
make_store() {
  local store=$dir/$1/A/streams/$2 part=$dir/part
  shift 2
  [[ ! -d $store ]] || return 0
  say "making $store"
  rm -rf "$part"
  mkdir -p "$part" "${store%/*}"
  "$oracle" gen big "$@" --account A --out "$part/A/streams/${store##*/}" >/dev/null
  mv "$part/A/streams/${store##*/}" "$store"
  rm -rf "$part"
}

# The side files as they were written, or as `$2` says: fresh, none.
lay_side_files() {
  local store=$1 name
  for name in msgs/index.db msgs/thw.db; do
    [[ -f $store/$name.kept ]] || cp "$store/$name" "$store/$name.kept"
    case $2 in
    fresh) cp "$store/$name.kept" "$store/$name" ;;
    none) rm -f "$store/$name" ;;
    esac
  done
}

compare() {
  local store=$1 about=$2 index=$3 key=() server_key=() old=${5:-} told took best= quickest= foretold
  [[ $4 != *--key* ]] || key=(--key "$KEY") server_key=(--key "$KEY" --cipher "${4##*--cipher }")
  for ((round = 1; round <= rounds; round++)); do
    lay_side_files "$store" "${index/stale/fresh}"
    [[ -z $old ]] || cp "$old/msgs/index.db.kept" "$store/msgs/index.db"
    told=$("$timing" "$store" --account A "${key[@]}" --index --foretell)
    took=$(GOMAXPROCS=1 "$oracle" time "$store" --account A --runs 1 "${server_key[@]}" | field cpu_ns)
    foretold=$(field start_seconds <<<"$told")
    if [[ -z $best ]] || awk -v a="$foretold" -v b="${best%% *}" 'BEGIN { exit !(a < b) }'; then
      best="$foretold $(field least <<<"$told") $(field most <<<"$told")"
    fi
    if [[ -z $quickest ]] || ((took < quickest)); then quickest=$took; fi
  done
  say "$about, index $index: foretold $best, took $quickest ns"
  awk -v about="$about" -v index_="$index" -v told="$best" -v took="$quickest" 'BEGIN {
    split(told, t, " "); took /= 1e9; ratio = t[1] / took
    shown = took < 0.02 ? "–" : sprintf("**%.2f**", ratio)
    bar = took < 0.2 ? "" : (ratio >= 0.5 && ratio <= 2) ? " met" : " MISSED"
    inside = took < 0.02 ? "–" : (took >= t[2] && took <= t[3]) ? "yes" : "no"
    printf "| %s | %s | %.3f (%.2f to %.2f) | %.3f | %s%s | %s |\n", about, index_, t[1], t[2], t[3], took, shown, bar, inside
  }' >>"$rows"
}

load_before=$(cut -d' ' -f1-3 /proc/loadavg)
while IFS='|' read -r name about flags; do
  read -r name <<<"$name" && read -r about <<<"$about" && read -r flags <<<"$flags"
  [[ -n $name ]] || continue
  [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $name "* ]] || continue
  flags=${flags//KEY/$KEY}
  # shellcheck disable=SC2086
  make_store now "$name" $flags
  store=$dir/now/A/streams/$name
  cat "$store"/msgs/*.blk >/dev/null
  compare "$store" "$about" none "$flags"
  if [[ $name == SUBJ || $name == IDX || $name == TTL || $name == P256 || $name == C16S ]]; then
    compare "$store" "$about" fresh "$flags"
  fi
  if [[ $name == P256 || $name == S512 || $name == SUBM ]]; then
    # The same store some messages earlier: its index is of the same stream, and stale.
    # shellcheck disable=SC2086
    make_store earlier "$name" $(awk '{ $2 -= 1000; print }' <<<"$flags")
    lay_side_files "$dir/earlier/A/streams/$name" fresh
    compare "$store" "$about" stale "$flags" "$dir/earlier/A/streams/$name"
  fi
done <<<"$STORES"
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

table() {
  printf '| store | index.db | foretold, s (range) | server, s | foretold ÷ server (bar 0.5 to 2 from 0.2 s on) | inside the range |\n'
  printf '|---|---|---|---|---|---|\n'
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
    sed '/^<!-- starts table -->$/q' "$page"
    table
    sed -n '/^<!-- end of starts table -->$/,$p' "$page"
  } >"$fresh"
  cat "$fresh" >"$page"
  rm -f "$fresh"
  say "written to $page"
fi
rm -f "$rows"
