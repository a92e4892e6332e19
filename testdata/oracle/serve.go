package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// worker is one child process and its ends.
type worker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan []byte // closed when the child's output ends
	stderr *tail
	// scratch holds the copies the child reads from, so that they go when it dies.
	scratch string
}

// tail keeps the beginning of what a child says on its way out.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 64<<10 - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

func startWorker(memoryMB uint64) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "oracle-")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "child", "--mem-mb", strconv.FormatUint(memoryMB, 10))
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	w := &worker{cmd: cmd, lines: make(chan []byte, 4), stderr: &tail{}, scratch: scratch}
	cmd.Stderr = w.stderr
	if w.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.lines)
		reader := bufio.NewReaderSize(out, 1<<16)
		for {
			line, err := reader.ReadBytes('\n')
			if err != nil {
				return
			}
			w.lines <- line
		}
	}()
	return w, nil
}

// end closes the child down, at once.
func (w *worker) end() {
	_ = w.cmd.Process.Kill()
	w.wait()
}

// wait takes in the rest of a child that is about to be gone.
func (w *worker) wait() {
	_ = w.in.Close()
	for range w.lines {
	}
	_ = w.cmd.Wait()
	_ = os.RemoveAll(w.scratch)
}

// desk puts questions to one child at a time, and takes a new one whenever it is gone.
type desk struct {
	memoryMB uint64
	timeout  time.Duration
	worker   *worker
}

func runServe(memoryMB uint64, timeout time.Duration) error {
	d := &desk{memoryMB: memoryMB, timeout: timeout}
	defer func() {
		if d.worker != nil {
			d.worker.end()
		}
	}()
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			_, _ = out.Write(append(bytes.TrimSpace(d.put(line)), '\n'))
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// put passes one question on and comes back with an answer, whatever happens to the child.
func (d *desk) put(line []byte) []byte {
	var q struct {
		ID json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return failure(nil, "error", "request: "+err.Error())
	}
	if d.worker == nil {
		w, err := startWorker(d.memoryMB)
		if err != nil {
			return failure(q.ID, "error", err.Error())
		}
		d.worker = w
	}
	if _, err := d.worker.in.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		return d.bury(q.ID, nil, "")
	}
	timer := time.NewTimer(d.timeout)
	defer timer.Stop()
	var partial []byte
	for {
		select {
		case got, alive := <-d.worker.lines:
			switch {
			case !alive:
				return d.bury(q.ID, partial, "")
			case got[0] == markFinished:
				return got[1:]
			case got[0] == markLeaving:
				d.worker.end()
				d.worker = nil
				return got[1:]
			case got[0] == markPartial:
				partial = bytes.TrimSpace(got[1:])
			}
		case <-timer.C:
			return d.bury(q.ID, partial, "timeout")
		}
	}
}

// bury takes leave of a child and says what became of the question.
func (d *desk) bury(id json.RawMessage, partial []byte, outcome string) []byte {
	w := d.worker
	d.worker = nil
	if outcome == "" {
		w.wait()
	} else {
		w.end()
	}
	text := "no answer within " + d.timeout.String()
	if outcome == "" {
		outcome, text = lastWords(w)
	}
	if partial == nil {
		return failure(id, outcome, text)
	}
	more, _ := json.Marshal(&reading{ReadOutcome: outcome, ReadError: text})
	return append(append(partial[:len(partial)-1], ','), more[1:]...)
}

// lastWords classifies how a child died.
func lastWords(w *worker) (outcome, text string) {
	said := w.stderr.String()
	text, _, _ = strings.Cut(strings.TrimSpace(said), "\n")
	if text == "" {
		text = w.cmd.ProcessState.String()
	}
	head := said[:min(len(said), 4096)]
	for _, sign := range []string{"out of memory", "cannot allocate memory", "failed to create new OS thread", "signal: killed"} {
		if strings.Contains(head, sign) || strings.Contains(text, sign) {
			return "oom", text
		}
	}
	return "panic", text
}

func failure(id json.RawMessage, outcome, text string) []byte {
	line, _ := json.Marshal(&answer{ID: id, Outcome: outcome, Error: text, Log: []string{}})
	return line
}
