#!/bin/sh
# Writes the stores below testdata/golden again: one embedded server per line, then the verdicts of 2.15.3.
# Needs go and the Go module proxy. Usage: make.sh [LINE...], e.g. make.sh v2.9 v2.15; without a line: all.
# ORACLE names an oracle built before; otherwise it is built.
set -eu
cd "$(dirname "$0")"
golden=../golden
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT

if [ -z "${ORACLE:-}" ]; then
    CARGO_TARGET_DIR=$bin sh ../oracle/build.sh
    ORACLE=$bin/oracle/oracle
fi
go build -o "$bin/verdict" ./verdict

for line in ${*:-v2.9 v2.10 v2.11 v2.12 v2.14 v2.15}; do
    modfile=lines/$line.mod
    [ "$line" = v2.15 ] && modfile=go.mod
    version=$(sed -n 's|.*nats-io/nats-server/v2 \(v[^ ]*\).*|\1|p' "$modfile")
    go build -modfile "$modfile" -o "$bin/$line" .
    rm -rf "$golden/$version"
    "$bin/$line" -out "$golden"
    "$bin/verdict" -oracle "$ORACLE" -golden "$golden" -version "$version"
done
