# What run.sh measures with: making stores, and one function for each kind of row. Sourced by run.sh, which sets $dir, $tiny,
# $rounds, $oracle, $timing, $bound, $jetsam and $KEY.
# shellcheck shell=bash disable=SC2154

say() { printf '%s\n' "$*" >&2; }

# The number behind "NAME": in a line of JSON, the first of a list.
field() { sed -n "s/.*\"$1\":\[\{0,1\}\([0-9.]*\).*/\1/p"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# Seconds that a command takes, its output thrown away.
seconds_of() {
  local TIMEFORMAT=%R
  { time "$@" >/dev/null 2>&1; } 2>&1
}

# make_store PATH FLAGS...: the store at a path below $dir, unless it is there from an earlier run. It is made elsewhere and
# renamed, so that an interrupted run leaves no half store behind to be measured.
make_store() {
  local store=$dir/$1
  local name=${store##*/}
  shift
  [[ ! -d $store ]] || return 0
  mkdir -p "$dir/making/A/streams" "${store%/*}"
  rm -rf "$dir/making/A/streams/$name"
  "$oracle" gen big "$@" --account A --out "$dir/making/A/streams/$name" >/dev/null
  mv "$dir/making/A/streams/$name" "$store"
}

# A copy of a store at another place, in place of what is there.
fresh_copy() {
  [[ $1 != "$2" ]] || return 0
  rm -rf "$2" && mkdir -p "${2%/*}"
  cp -r "$1" "$2"
}

# A store without index.db on both sides, or with it where KIND is "index". One line: about, Go s, ours s, ratio, bar, bound s,
# Go MiB, our MiB, memory bar.
compare() {
  local name=$1 about=$2 kind=$3 flags=$4 bar=$5 memory_bar=$6
  local store=$dir/A/streams/$name key=() ours_flags=() go_flags=() go ours least scratch
  local go_store=$store
  [[ $flags != *--key* ]] || key=(--key "$KEY")
  case $kind in
  index) ours_flags=(--index) ;;
  *) go_flags=(--no-index) ;;
  esac
  scratch=$(mktemp -d)
  # Where opening removes messages the server writes to the store: each time to another copy.
  [[ $kind != removing ]] || go_store=$dir/copy/A/streams/$name
  # Warms the page cache and, where it is not wanted, drops index.db before the first round.
  fresh_copy "$store" "$go_store"
  # shellcheck disable=SC2086
  "$oracle" time "$go_store" --account A --runs 1 "${go_flags[@]}" $flags >/dev/null
  "$timing" "$store" --account A "${key[@]}" "${ours_flags[@]}" >/dev/null
  for ((round = 1; round <= rounds; round++)); do
    fresh_copy "$store" "$go_store"
    # shellcheck disable=SC2086
    go=$("$oracle" time "$go_store" --account A --runs 1 "${go_flags[@]}" $flags)
    ours=$("$timing" "$store" --account A "${key[@]}" "${ours_flags[@]}")
    least=$("$bound" "$store" --account A "${key[@]}" "${ours_flags[@]}")
    if [[ $(field messages <<<"$go") != "$(field messages <<<"$ours")" ||
      $(field bytes <<<"$go") != "$(field bytes <<<"$ours")" ]]; then
      say "$name: the two sides disagree: $go and $ours"
      exit 1
    fi
    printf '%s %s %s %s %s\n' "$(field open_ns <<<"$go")" "$(field peak_rss_kb <<<"$go")" \
      "$(field seconds <<<"$ours")" "$(field peak_rss_kb <<<"$ours")" "$(field seconds <<<"$least")" >>"$scratch/rounds"
    say "$name round $round: Go $(field open_ns <<<"$go" | awk '{ printf "%.3f", $1 / 1e9 }') s, jetsam $(field seconds <<<"$ours") s, bound $(field seconds <<<"$least") s"
  done
  row "$about" "$bar" "$memory_bar" "$scratch/rounds"
  rm -rf "$scratch" "$dir/copy"
}

# The row that rounds come to: of each ratio the median, not the ratio of medians.
row() {
  local about=$1 bar=$2 memory_bar=$3 rounds_file=$4
  local go_s ours_s ratio go_mib ours_mib bound_s share memory_text="< 64 MiB"
  go_s=$(awk '{ print $1 / 1e9 }' "$rounds_file" | median)
  ours_s=$(awk '{ print $3 }' "$rounds_file" | median)
  ratio=$(awk '{ print $1 / 1e9 / $3 }' "$rounds_file" | median)
  go_mib=$(awk '{ print $2 / 1024 }' "$rounds_file" | median)
  ours_mib=$(awk '{ print $4 / 1024 }' "$rounds_file" | median)
  bound_s=$(awk '{ print $5 }' "$rounds_file" | median)
  share=$(awk '{ print $5 / $3 * 100 }' "$rounds_file" | median)
  case $memory_bar in
  half) memory_text="≤ ½ of Go" ;;
  Go) memory_text="≤ Go" ;;
  esac
  awk -v about="$about" -v go="$go_s" -v ours="$ours_s" -v ratio="$ratio" -v bar="$bar" -v bound="$bound_s" -v share="$share" \
    -v go_mib="$go_mib" -v ours_mib="$ours_mib" -v memory_text="$memory_text" -v tiny="$tiny" '
  function verdict(met) { return tiny ? "(not judged)" : met ? "met" : "MISSED" }
  BEGIN {
    memory_met = memory_text ~ /64/ ? ours_mib < 64 : ours_mib <= go_mib / (memory_text ~ /½/ ? 2 : 1)
    printf "| %s | %.3f | %.3f | **%.1f×** | %s× %s | %.3f, %.0f %% | %.0f | %.0f | %s %s |\n", about, go, ours, ratio, bar,
      verdict(ratio >= bar), bound, share, go_mib, ours_mib, memory_text, verdict(memory_met)
  }'
}

# many COUNT BAR: so many streams of 1,000 messages, Go opening one after the other, the command as a whole process.
many() {
  local count=$1 bar=$2 store=$dir/many go ours scratch
  say "making $count streams below $store"
  for ((at = 1; at <= count; at++)); do
    make_store "many/A/streams/S$at" --msgs 1000 --size 128 --subjects 8 --prefix "s$at."
  done
  scratch=$(mktemp -d)
  for ((round = 0; round <= rounds; round++)); do
    go=$("$oracle" time "$store"/A/streams/* --account A --runs 1 --no-index)
    ours=$(seconds_of "$jetsam" check "$store" --no-index --no-progress || true)
    # Round 0 warms the page cache.
    ((round == 0)) || printf '%s %s\n' "$(field open_ns <<<"$go" | awk '{ print $1 / 1e9 }')" "$ours" >>"$scratch/rounds"
    say "$count streams, round $round: Go $(field open_ns <<<"$go" | awk '{ printf "%.3f", $1 / 1e9 }') s, jetsam $ours s"
  done
  awk -v go="$(awk '{ print $1 }' "$scratch/rounds" | median)" -v ours="$(awk '{ print $2 }' "$scratch/rounds" | median)" \
    -v ratio="$(awk '{ print $1 / $2 }' "$scratch/rounds" | median)" -v count="$count" -v bar="$bar" -v tiny="$tiny" '
  BEGIN {
    each = ours / count * 1000
    printf "| %d streams of 1,000 messages, the whole command | %.3f | %.3f | **%.1f×** | %s ms a stream: %.2f %s | – | – | – | – |\n", count, go, ours,
      ratio, bar, each, tiny ? "(not judged)" : each <= bar ? "met" : "MISSED"
  }'
  rm -rf "$scratch"
}

# verbs ABOUT: the other verbs on one store, each beside `check` in the same round, and beside a copy of the files made durable.
verbs() {
  local about=$1 source=$dir/A/streams/VERBS scratch
  scratch=$(mktemp -d -p "$dir")
  for ((round = 0; round <= rounds; round++)); do
    verbs_round "$source" "$scratch/work" >"$scratch/round"
    ((round == 0)) || cat "$scratch/round" >>"$scratch/rounds"
    say "verbs, round $round: $(tr '\n' ' ' <"$scratch/round")"
  done
  local verb bar name
  while IFS='|' read -r name verb bar; do
    read -r name <<<"$name" && read -r verb <<<"$verb" && read -r bar <<<"$bar"
    [[ -n $name ]] || continue
    awk -v name="$name" '$1 == name { print $2 }' "$scratch/rounds" | median >"$scratch/seconds"
    awk -v name="$name" '$1 == name { print $2 / $3 }' "$scratch/rounds" | median >"$scratch/ratio"
    awk -v seconds="$(cat "$scratch/seconds")" -v ratio="$(cat "$scratch/ratio")" -v verb="$verb" -v bar="$bar" -v tiny="$tiny" '
    BEGIN {
      judged = bar == "" ? "" : sprintf("≤ %s× %s", bar, tiny ? "(not judged)" : ratio <= bar ? "met" : "MISSED")
      printf "| %s | %.3f | **%.1f×** | %s |\n", verb, seconds, ratio, judged
    }'
  done <<<"$VERBS"
  rm -rf "$scratch"
}

VERBS='
check  | `check`                                |
digest | `check --digest`                       | 1.5
cat    | `cat`, to a file                       | 5
merge  | `merge` of two                         | 3
rekey  | `rekey` to ChaCha20                    | 4
copy   | for comparison: `cp -r` and `sync -f`  |
'

# Lines of a name, its seconds and those of the check beside it.
verbs_round() {
  local source=$1 work=$2 check
  rm -rf "$work" && mkdir -p "$work/A/streams"
  cp -r "$source" "$work/A/streams/VERBS"
  sync -f "$work"
  check=$(seconds_of "$jetsam" check "$source" --no-progress)
  printf 'check %s %s\n' "$check" "$check"
  printf 'digest %s %s\n' "$(seconds_of "$jetsam" check --digest "$source" --no-progress)" "$check"
  printf 'cat %s %s\n' "$(seconds_of sh -c '"$0" cat "$1" >"$2"' "$jetsam" "$source" "$work/messages")" "$check"
  rm -f "$work/messages"
  printf 'merge %s %s\n' "$(seconds_of "$jetsam" merge "$source" "$work/A/streams/VERBS" --out "$work/merged" --no-progress)" "$check"
  [[ -d $work/merged ]] || { say "merge failed" && exit 1; }
  rm -rf "$work/merged"
  printf 'rekey %s %s\n' "$(NEW_KEY=$KEY seconds_of "$jetsam" rekey "$work/A/streams/VERBS" --new-key-env NEW_KEY --new-cipher chacha --no-progress)" "$check"
  [[ -f $work/A/streams/VERBS/meta.key ]] || { say "rekey failed" && exit 1; }
  printf 'copy %s %s\n' "$(seconds_of sh -c 'cp -r "$0" "$1" && sync -f "$1"' "$source" "$work/copied")" "$check"
  rm -rf "$work"
}
