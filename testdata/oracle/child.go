package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
)

// A child writes one line per finished question, marked as finished, and before a risky step the answer so far, marked as partial.
const (
	markPartial  = 'P'
	markFinished = 'F'
	markLeaving  = 'L' // finished, and the child ends: what a panic left behind must not touch the next answer
)

const maxLine = 1 << 30

// runChild answers questions until its input ends. It may die at any of them.
func runChild(memoryMB uint64) error {
	limitMemory(memoryMB)
	env, err := newEnvironment()
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<16), maxLine)
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	for in.Scan() {
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			emit(out, markFinished, &answer{Outcome: "error", Error: "request: " + err.Error(), Log: []string{}})
			continue
		}
		result := env.answerOp(&q, func(a *answer) { emit(out, markPartial, a) })
		if panicked(result) {
			emit(out, markLeaving, result)
			return nil
		}
		emit(out, markFinished, result)
		tidyHeap()
	}
	return in.Err()
}

// answerOp does what one request asks for.
func (env *environment) answerOp(q *question, partial func(*answer)) any {
	switch q.Op {
	case "", "open":
		return env.ask(q, partial)
	case "random", "gen":
		return env.generate(q)
	}
	return &answer{ID: q.ID, Outcome: "error", Error: "unknown op " + strconv.Quote(q.Op), Log: []string{}}
}

func panicked(result any) bool {
	switch r := result.(type) {
	case *answer:
		return r.Outcome == "panic" || r.reading != nil && r.ReadOutcome == "panic"
	case *written:
		return r.Outcome == "panic"
	}
	return false
}

func emit(out *bufio.Writer, mark byte, document any) {
	_ = out.WriteByte(mark)
	_ = encode(out, document)
	_ = out.Flush()
}

// encode writes one document as one line.
func encode(out io.Writer, document any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(document)
}

// limitMemory bounds the address space to what the process has now plus the given amount, and keeps the collector away from
// questions: whether a block's weakly held cache has been collected changes what the reference finds in a damaged store.
func limitMemory(memoryMB uint64) {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(int64(memoryMB) << 19)
	limit := addressSpace() + memoryMB<<20
	_ = syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit})
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

// addressSpace is the size of the process's address space in bytes.
func addressSpace() uint64 {
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 2 << 30
	}
	pages, err := strconv.ParseUint(strings.Fields(string(content))[0], 10, 64)
	if err != nil {
		return 2 << 30
	}
	return pages * uint64(os.Getpagesize())
}

// tidyHeap collects between questions once enough has piled up.
func tidyHeap() {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Uint64() > 256<<20 {
		runtime.GC()
	}
}
