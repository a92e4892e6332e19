#!/usr/bin/env bash
# Archives from hand to hand: what a server backs up we restore, also under another name, and what we back up it restores, in both versions.
#
#   tools/archive.sh ARCHIVE JETSAM SERVER NATS [KEPT]
#
# ARCHIVE is the program that `cargo build --example archive` leaves, JETSAM the command, SERVER a nats-server v2.15.3, NATS the `nats`
# command (`go install github.com/nats-io/natscli/nats@v0.5.1`). It ends with what differs, or with how much was looked at.
# In KEPT the server's backup stays, with what it holds: `testdata/archives/second` was made so.
set -euo pipefail
archive=$1 jetsam=$2 server=$3 nats=$4
dir=$(mktemp -d)
pid=
trap 'kill -9 "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
looks=0

# start STORE: a server on a port of its own.
start() {
  rm -f "$dir"/ports/*
  "$server" -a 127.0.0.1 -p -1 -js -sd "$1" --ports_file_dir "$dir/ports" >"$dir/log" 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    address=$(sed -n 's/.*"nats":\["\([^"]*\)".*/\1/p' "$dir"/ports/* 2>/dev/null || true)
    [[ -n $address ]] && return
    sleep 0.1
  done
  echo "the server does not come up" >&2
  cat "$dir/log" >&2
  exit 1
}

stop() {
  kill -INT "$pid"
  wait "$pid" || true
}

ask() { timeout 30 "$nats" --server "$address" --timeout 10s "$@" </dev/null; }

# messages STORE NAME: all of them, without the stream's name.
messages() { "$jetsam" cat --format json --quiet "$1/jetstream/\$G/streams/$2" | sed 's/"stream":"[^"]*",//'; }

# same STORE NAME WHAT: the stream holds what the first one held.
same() {
  looks=$((looks + 1))
  messages "$1" "$2" >"$dir/found"
  cmp -s "$dir/held" "$dir/found" || {
    echo "$3 holds something else:" >&2
    diff "$dir/held" "$dir/found" | head -20 >&2
    exit 1
  }
}

# sees TEXT ARGUMENT...: the command's answer has this text in it.
sees() {
  local text=$1 answer
  shift
  answer=$(ask "$@" 2>&1 || true)
  looks=$((looks + 1))
  [[ $answer == *"$text"* ]] || {
    printf 'nats %s: no "%s" in\n%s\n' "$*" "$text" "$answer" >&2
    exit 1
  }
}

mkdir "$dir/ports"
keep=${5-}
start "$dir/a"
ask stream add ORDERS --subjects 'orders.>' --storage file --defaults >/dev/null
ask pub orders.new 'order {{Count}}' -H 'From:{{Count}}' --count 60 >/dev/null 2>&1
ask pub orders.done '{{Random 0 300}}' --count 20 >/dev/null 2>&1
for seq in 1 2 33 80; do ask stream rmm ORDERS "$seq" -f >/dev/null; done
ask consumer add ORDERS KITCHEN --pull --ack explicit --filter orders.new --defaults >/dev/null
ask consumer next ORDERS KITCHEN --count 5 --ack >/dev/null 2>&1
ask consumer next ORDERS KITCHEN --count 2 --no-ack >/dev/null 2>&1
ask stream backup ORDERS "$dir/by-server" --no-progress >/dev/null 2>&1
stop
messages "$dir/a" ORDERS >"$dir/held"
[[ -z $keep ]] || cp -r "$dir/by-server" "$dir/held" "$keep"
[[ $(wc -l <"$dir/held") == 76 ]] || { echo "not 76 messages to begin with" >&2; exit 1; }

ours=$dir/b/jetstream/\$G/streams
mkdir -p "$ours"
for name in ORDERS COPY; do
  "$archive" restore "$dir/by-server" "$ours/$name" >/dev/null
  same "$dir/b" "$name" "what we restored as $name"
done
"$archive" save "$dir/a/jetstream/\$G/streams/ORDERS" "$dir/messages" messages
"$archive" save "$dir/a/jetstream/\$G/streams/ORDERS" "$dir/files"

# What we restored a server serves; two streams cannot have one subject.
rm -r "$ours/COPY"
start "$dir/b"
sees 'Messages: 76' stream info ORDERS
sees 'Last Delivered Message: Consumer sequence: 7' consumer info ORDERS KITCHEN
sees 'Outstanding Acks: 2' consumer info ORDERS KITCHEN
stop

for backup in messages files; do
  start "$dir/c-$backup"
  sees 'Messages: 76' stream restore "$dir/$backup" --no-progress
  sees 'Outstanding Acks: 2' consumer info ORDERS KITCHEN
  stop
  same "$dir/c-$backup" ORDERS "what the server restored of our $backup"
done
echo "archives: $looks looks, all as they should be"
