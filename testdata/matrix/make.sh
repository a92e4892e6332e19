#!/bin/sh
# Writes every store of the parity matrix again, with the verdict of nats-server v2.15.2 beside each. Needs Go; takes half a minute.
#   make.sh            all rows
#   make.sh R021 R047  these rows
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
"$root/testdata/oracle/build.sh"
target=${CARGO_TARGET_DIR:-target}
case $target in
/*) ;;
*) target=$root/$target ;;
esac
if [ $# -eq 0 ]; then
	find "$here" -mindepth 1 -maxdepth 1 -type d -name 'R*' -exec rm -r {} +
fi
"$target/oracle/oracle" matrix --out "$here" "$@"
# What a checkout would not have either.
find "$here" -mindepth 2 -type d -empty -delete
