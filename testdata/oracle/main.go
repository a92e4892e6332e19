// Command oracle tells what nats-server v2.15.3 makes of a JetStream file store, writes stores with it, and times it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

const usage = `usage: oracle COMMAND ...

  open DIR [flags]             open one stream directory in place, print what came of it
  serve [flags]                answer JSON lines on standard input
  gen RECIPE --out DIR [flags] write a store after a recipe
  recipes                      list the recipes
  random --seed N --out DIR    write a random store
  matrix [RNNN ...] --out DIR  write the stores of the parity matrix with their verdicts
  time DIR... [flags]          time the open call
  server STORE_DIR [flags]     start a whole server on a store_dir and print its streams
  consumer-scripts [flags]     random lives of consumers, each step with what came of it
  ops                          serve the operations' protocol of an embedded engine with the server's store
  tokens                       make tokens of an operator and its accounts, as asked for on standard input
`

func main() {
	checkLayout()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(16)
	}
	command, args := args[0], args[1:]
	switch command {
	case "open":
		return commandOpen(args)
	case "serve", "child":
		return commandServe(command, args)
	case "gen", "random":
		return commandGenerate(command, args)
	case "recipes":
		for _, r := range recipes {
			fmt.Printf("%-22s %s\n", r.name, r.about)
		}
		return nil
	case "matrix":
		return commandMatrix(args)
	case "time":
		return commandTime(args)
	case "server":
		return commandServer(args)
	case "consumer-scripts":
		return commandConsumerScripts(args)
	case "ops":
		return commandOps()
	case "tokens":
		return commandTokens()
	}
	return fmt.Errorf("unknown command %q", command)
}

// parse reads flags that may stand before and after the positional arguments.
func parse(set *flag.FlagSet, args []string) (positional []string) {
	for {
		_ = set.Parse(args)
		if set.NArg() == 0 {
			return positional
		}
		positional = append(positional, set.Arg(0))
		args = set.Args()[1:]
	}
}

func keyFlags(set *flag.FlagSet, q *question) {
	set.StringVar(&q.Key, "key", "", "JetStream encryption key")
	set.StringVar(&q.PrevKey, "prev-key", "", "previous key")
	set.StringVar(&q.Cipher, "cipher", "", "chacha or aes")
	set.StringVar(&q.Account, "account", "", "account name; default: the directory above streams")
}

func one(positional []string, what string) (string, error) {
	if len(positional) != 1 {
		return "", fmt.Errorf("exactly one %s expected", what)
	}
	return positional[0], nil
}

func commandOpen(args []string) error {
	q := &question{}
	set := flag.NewFlagSet("open", flag.ExitOnError)
	keyFlags(set, q)
	configFile := set.String("config-json", "", "stream configuration in place of meta.inf")
	noStop := set.Bool("no-stop", false, "same as --after open")
	noDigest := set.Bool("no-digest", false, "do not read the messages")
	set.StringVar(&q.After, "after", "stop", "when the files are looked at: open or stop")
	set.StringVar(&q.Name, "name", "", "stream name; default: the name of DIR")
	set.Uint64Var(&q.BlockSize, "block-size", 0, "block size; default: the server's rule")
	set.BoolVar(&q.Consumers, "consumers", false, "open the consumers as well")
	set.BoolVar(&q.Replicated, "replicated", false, "allow more than one replica")
	set.BoolVar(&q.Raw, "raw", false, "take the configuration as it is, without the server's check")
	set.BoolVar(&q.CreatedNow, "created-now", false, "hand the present time to the store as time of creation, as the server does")
	var err error
	if q.Dir, err = one(parse(set, args), "directory"); err != nil {
		return err
	}
	if *noStop {
		q.After = "open"
	}
	digest := !*noDigest
	q.Digest = &digest
	if *configFile != "" {
		if q.Config, err = os.ReadFile(*configFile); err != nil {
			return err
		}
	}
	line, err := json.Marshal(q)
	if err != nil {
		return err
	}
	d := &desk{memoryMB: 3000, timeout: 10 * time.Minute}
	_, err = os.Stdout.Write(append(d.put(line), '\n'))
	if d.worker != nil {
		d.worker.end()
	}
	return err
}

func commandServe(command string, args []string) error {
	set := flag.NewFlagSet(command, flag.ExitOnError)
	memoryMB := set.Uint64("mem-mb", 3000, "memory a child may add to its own")
	seconds := set.Float64("timeout-s", 20, "time one question may take")
	parse(set, args)
	if command == "child" {
		return runChild(*memoryMB)
	}
	return runServe(*memoryMB, time.Duration(*seconds*float64(time.Second)))
}
