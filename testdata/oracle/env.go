package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// logLines collects what the reference logs at warning level and above.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

const maxLogLines = 2000

func (l *logLines) add(level, format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < maxLogLines {
		l.lines = append(l.lines, level+" "+strings.ToValidUTF8(fmt.Sprintf(format, args...), "\uFFFD"))
	}
}

func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func (l *logLines) Noticef(string, ...any)         {}
func (l *logLines) Debugf(string, ...any)          {}
func (l *logLines) Tracef(string, ...any)          {}
func (l *logLines) Warnf(format string, a ...any)  { l.add("W", format, a) }
func (l *logLines) Errorf(format string, a ...any) { l.add("E", format, a) }
func (l *logLines) Fatalf(format string, a ...any) { l.add("F", format, a) }

// environment is the server every store of this process refers to: never started, only asked and logged to.
type environment struct {
	srv     *server.Server
	opts    *server.Options
	limited *sync.Map // the server's memory of rate-limited log lines
	log     *logLines
}

func newEnvironment() (*environment, error) {
	opts := &server.Options{ServerName: "oracle", DontListen: true, NoLog: true, NoSigs: true}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	env := &environment{srv: srv, log: &logLines{}}
	srv.SetLoggerV2(env.log, false, false, false)
	value := reflect.ValueOf(srv).Elem()
	env.opts = *(**server.Options)(unsafe.Pointer(value.FieldByName("opts").UnsafeAddr()))
	env.limited = (*sync.Map)(unsafe.Pointer(value.FieldByName("rateLimitLogging").UnsafeAddr()))
	env.opts.SyncInterval = 2 * time.Minute
	return env, nil
}

// keys are the JetStream encryption settings of one question.
type keys struct {
	key, previous string
	cipher        server.StoreCipher
	account       string
}

func parseCipher(name string) (server.StoreCipher, error) {
	switch strings.ToLower(name) {
	case "", "auto", "chacha", "chachapoly":
		return server.ChaCha, nil
	case "aes":
		return server.AES, nil
	}
	return server.ChaCha, fmt.Errorf("unknown cipher %q", name)
}

// configure makes the server's options say what this question says, and forgets what was logged before.
func (env *environment) configure(k keys) {
	env.opts.JetStreamKey, env.opts.JetStreamOldKey, env.opts.JetStreamCipher = k.key, k.previous, k.cipher
	env.limited.Clear()
	env.log.take()
}

func generator(key, account string) keyGen {
	if key == "" {
		return nil
	}
	return func(context []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(account))
		mac.Write(context)
		return mac.Sum(nil), nil
	}
}

// storeConfig is what a server would hand to the store for this stream configuration.
func (env *environment) storeConfig(dir string, cfg *server.StreamConfig, k keys) server.FileStoreConfig {
	fcfg := server.FileStoreConfig{
		StoreDir:     dir,
		BlockSize:    tunedBlockSize(cfg),
		SyncInterval: env.opts.SyncInterval,
		AsyncFlush:   cfg.Replicas > 1 || cfg.PersistMode == server.AsyncPersistMode,
		Compression:  cfg.Compression,
	}
	if k.key != "" {
		fcfg.Cipher = k.cipher
	}
	setServer(&fcfg, env.srv)
	return fcfg
}

// tunedBlockSize follows the server's choice of block size from the stream limits; 0 leaves it to the store.
func tunedBlockSize(cfg *server.StreamConfig) uint64 {
	var estimate uint64
	switch {
	case cfg.MaxBytes > 0:
		estimate = uint64(cfg.MaxBytes)
	case cfg.MaxMsgs > 0:
		estimate = largestMessage(cfg) * uint64(cfg.MaxMsgs)
	case cfg.MaxMsgsPer > 0:
		return 4 << 20
	default:
		return 0
	}
	size := estimate/4 + 1
	size = (size + 99) / 100 * 100
	switch {
	case size <= server.FileStoreMinBlkSize:
		return server.FileStoreMinBlkSize
	case size >= server.FileStoreMaxBlkSize:
		return server.FileStoreMaxBlkSize
	}
	return 4 << 20
}

// largestMessage estimates the largest record of a stream: the message limit, the longest literal subject, the framing.
func largestMessage(cfg *server.StreamConfig) uint64 {
	payload := uint64(server.MAX_PAYLOAD_SIZE)
	if cfg.MaxMsgSize > 0 {
		payload = uint64(cfg.MaxMsgSize)
	}
	subject := -1
	for _, s := range cfg.Subjects {
		literal := true
		for _, token := range strings.Split(s, ".") {
			literal = literal && token != "*" && token != ">"
		}
		if literal {
			subject = max(subject, len(s))
		}
	}
	if subject < 0 {
		subject = 256
	}
	const framing = 30 + 4
	return framing + uint64(subject) + payload
}
