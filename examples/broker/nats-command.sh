#!/usr/bin/env bash
# The broker as the `nats` command sees it: streams, messages, consumers, key-value buckets, before and after a kill.
#
#   examples/broker/nats-command.sh BROKER NATS
#
# BROKER is the program that `cargo build --example broker` leaves, NATS the command (`go install
# github.com/nats-io/natscli/nats@v0.5.1`). It ends with what differs, or with how much was looked at.
set -euo pipefail
broker=$1 nats=$2
dir=$(mktemp -d)
trap 'kill -9 "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
looks=0

start() {
  "$broker" "$dir/data" 127.0.0.1:0 >"$dir/said" 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    address=$(sed -n 's/^listening on //p' "$dir/said")
    [[ -n $address ]] && return
    sleep 0.1
  done
  echo "the broker does not come up" >&2
  exit 1
}

ask() { timeout 20 "$nats" --server "$address" --timeout 5s "$@" 2>&1 </dev/null || true; }

# sees TEXT ARGUMENT...: the command's answer has this text in it.
sees() {
  local text=$1 answer
  shift
  answer=$(ask "$@")
  looks=$((looks + 1))
  [[ $answer == *"$text"* ]] || {
    printf 'nats %s: no "%s" in\n%s\n' "$*" "$text" "$answer" >&2
    exit 1
  }
}

mkdir "$dir/data"
start
sees 'orders.>' stream add ORDERS --subjects 'orders.>' --defaults
sees 'Sequence: 1' pub orders.1 'one coffee' --jetstream
sees 'Sequence: 2' pub orders.2 'two coffees' -H Nats-Msg-Id:a --jetstream
sees 'Sequence: 2' pub orders.2 'two coffees' -H Nats-Msg-Id:a --jetstream
sees 'one coffee' stream get ORDERS 1
sees 'two coffees' stream get ORDERS -S orders.2
sees 'no message found' stream get ORDERS 3
sees 'Messages: 2' stream info ORDERS
sees 'ORDERS' stream ls --names
sees 'Unprocessed Messages: 2' consumer add ORDERS C --pull --defaults
sees 'one coffee' consumer next ORDERS C --ack
sees 'two coffees' sub 'orders.>' --stream ORDERS --last --count 1
sees 'KV_COLOURS' kv add COLOURS --history 5
sees 'red' kv put COLOURS colour red
sees 'blue' kv update COLOURS colour blue 1
sees 'the last message is 2, not 1' kv update COLOURS colour green 1
# An acknowledgement that nobody wants confirmed is written a moment later.
sleep 0.6
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
start
sees 'Messages: 2' stream info ORDERS
sees 'Unprocessed Messages: 1' consumer info ORDERS C
sees 'two coffees' consumer next ORDERS C --ack
sees 'Unprocessed Messages: 0' consumer info ORDERS C
sees 'blue' kv get COLOURS colour --raw
sees 'red' kv history COLOURS colour
sees 'colour' kv ls COLOURS
sees 'COLOURS' kv ls
ask kv del COLOURS colour --force >/dev/null
sees 'not found' kv get COLOURS colour
sees 'Messages: 0' stream purge ORDERS --force
sees 'Sequence: 3' pub orders.3 tea --jetstream
kill "$pid"
wait "$pid" || { echo "the broker did not end well" >&2 && exit 1; }
echo "the nats command: $looks answers as expected"
