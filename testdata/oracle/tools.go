//go:build tools

package main

// Keeps the server's own program among what this module requires: build.sh builds it too.
import _ "github.com/nats-io/nats-server/v2"
