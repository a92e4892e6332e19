#!/bin/sh
# Builds the oracle into ${CARGO_TARGET_DIR:-target}/oracle/oracle of the repository, and beside it the server itself, as
# nats-server, of the same release. Go's own cache makes a repeat quick.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-target}
case $target in
/*) ;;
*) target=$root/$target ;;
esac
mkdir -p "$target/oracle"
cd "$here"
go build -trimpath -o "$target/oracle/oracle" .
exec go build -trimpath -o "$target/oracle/nats-server" github.com/nats-io/nats-server/v2
