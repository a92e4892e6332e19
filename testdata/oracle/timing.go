package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

type timing struct {
	OpenNs    []int64 `json:"open_ns"`
	CPUNs     []int64 `json:"cpu_ns"` // of all threads, the garbage collector's included
	PeakRSSKB uint64  `json:"peak_rss_kb"`
	Messages  uint64  `json:"messages"`
	Bytes     uint64  `json:"bytes"`
	Procs     int     `json:"procs"`
}

// commandTime opens stores again and again, closing them without writing. Of several a run is one after the other, and their
// times, messages and bytes are added up.
func commandTime(args []string) error {
	q := &question{}
	set := flag.NewFlagSet("time", flag.ExitOnError)
	keyFlags(set, q)
	runs := set.Int("runs", 5, "how often to open")
	noIndex := set.Bool("no-index", false, "delete index.db, thw.db, sched.db and sources.db before each open; DIR is changed")
	keepTimers := set.Bool("keep-timers", false, "with --no-index: delete index.db only")
	set.StringVar(&q.Name, "name", "", "stream name; default: the name of DIR")
	dirs := parse(set, args)
	if len(dirs) == 0 {
		return errorString("a directory expected")
	}
	env, err := newEnvironment()
	if err != nil {
		return err
	}
	result := timing{Procs: runtime.GOMAXPROCS(0)}
	for range *runs {
		if *noIndex {
			for _, dir := range dirs {
				removeIndexes(dir, *keepTimers)
			}
		}
		result.Messages, result.Bytes = 0, 0
		var openNs, cpuNs int64
		for _, dir := range dirs {
			q.Dir = dir
			p, skip, err := env.planStream(q)
			if err != nil {
				return err
			} else if skip != "" {
				return errorString("skipped: " + skip)
			}
			if len(dirs) == 1 {
				runtime.GC()
			}
			begin, beginCPU := time.Now(), cpuTime()
			s, err := env.open(p)
			openNs += time.Since(begin).Nanoseconds()
			cpuNs += cpuTime() - beginCPU
			if err != nil {
				return err
			}
			var st server.StreamState
			s.FastState(&st)
			result.Messages, result.Bytes = result.Messages+st.Msgs, result.Bytes+st.Bytes
			s.abandon()
		}
		result.OpenNs = append(result.OpenNs, openNs)
		result.CPUNs = append(result.CPUNs, cpuNs)
	}
	result.PeakRSSKB = peakRSS()
	return json.NewEncoder(os.Stdout).Encode(result)
}

// cpuTime is what this process has spent on processors so far, in nanoseconds.
func cpuTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

type errorString string

func (e errorString) Error() string { return string(e) }

func removeIndexes(dir string, keepTimers bool) {
	_ = os.Remove(filepath.Join(dir, "msgs", "index.db"))
	if !keepTimers {
		for _, name := range []string{"msgs/thw.db", "msgs/sched.db", "sources.db"} {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
}

// peakRSS is the largest resident size of this process so far, in KiB.
func peakRSS() uint64 {
	content, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(content), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kb
		}
	}
	return 0
}
