// Command verdict asks the oracle about every stream below the golden stores and writes its answers beside
// them, as <case>/verdict/<ACCOUNT>/<STREAM>.json. The stores themselves are only read: copies are asked about.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
)

// fixtureKey is the key the writers seal their stores with.
const fixtureKey = "sekret-fixture-key"

type object = map[string]any

// oracle is a running `oracle serve`: one question a line, one answer a line.
type oracle struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startOracle(path string) (*oracle, func() error, error) {
	command := exec.Command(path, "serve")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err = command.Start(); err != nil {
		return nil, nil, err
	}
	end := func() error {
		in.Close()
		return command.Wait()
	}
	return &oracle{in: in, out: bufio.NewReader(out)}, end, nil
}

// ask copies the stream directory under a path that names account and stream, and asks about the copy.
func (o *oracle) ask(stream streamDir, consumers bool) (object, error) {
	temp, err := os.MkdirTemp("", "jetsam-verdict-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, stream.account, "streams", stream.name)
	if err = os.CopyFS(dir, os.DirFS(stream.path)); err != nil {
		return nil, err
	}
	for _, sub := range []string{"msgs", "obs"} { // git keeps no empty directories
		if err = os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	question := object{"dir": dir, "consumers": consumers, "digest": !consumers}
	if stream.cipher != "none" {
		question["key"], question["cipher"] = fixtureKey, stream.cipher
	}
	line, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	if _, err = o.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	text, err := o.out.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte(dir), []byte("STREAM"))
	if bytes.Contains(text, []byte(os.TempDir()+"/")) {
		return nil, fmt.Errorf("a path of this machine is left in %s", text)
	}
	answer := object{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return answer, decoder.Decode(&answer)
}

// verdict asks twice, because the server contradicts itself now and then, and once more for the consumers.
func (o *oracle) verdict(stream streamDir) (object, error) {
	first, err := o.ask(stream, false)
	if err != nil {
		return nil, err
	}
	second, err := o.ask(stream, false)
	if err != nil {
		return nil, err
	}
	keepAgreedSums(first, second)
	for _, answer := range []object{first, second} {
		delete(answer, "open_ns")
	}
	opened := first["opened_at"]
	delete(first, "opened_at")
	delete(second, "opened_at")
	if !reflect.DeepEqual(first, second) {
		return nil, fmt.Errorf("two answers differ:\n%v\n%v", first, second)
	}
	if opened != nil {
		first["opened_at"] = opened
	}
	third, err := o.ask(stream, true)
	if err != nil {
		return nil, err
	}
	if consumers, ok := third["consumers"]; ok {
		first["consumers"] = consumers
	}
	return first, nil
}

// keepAgreedSums drops the checksum of a file that comes out different each time: sealed anew, or in random order.
func keepAgreedSums(first, second object) {
	one, _ := first["files_after"].(object)
	two, _ := second["files_after"].(object)
	for name := range one {
		a, _ := one[name].(object)
		b, _ := two[name].(object)
		if a != nil && b != nil && a["sha256"] != b["sha256"] {
			delete(a, "sha256")
			delete(b, "sha256")
		}
	}
}

// streamDir is one stream directory of one case.
type streamDir struct {
	path, target, account, name, cipher string
}

func streamsBelow(golden, version string) ([]streamDir, error) {
	pattern := filepath.Join(golden, version, "*", "jetstream", "*", "streams", "*")
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, errors.New("nothing matches " + pattern)
	}
	var streams []streamDir
	for _, path := range paths {
		account := filepath.Dir(filepath.Dir(path))
		caseDir := filepath.Dir(filepath.Dir(account))
		stream := streamDir{path: path, account: filepath.Base(account), name: filepath.Base(path)}
		stream.cipher = strings.Split(filepath.Base(caseDir), "-")[1]
		stream.target = filepath.Join(caseDir, "verdict", stream.account, stream.name+".json")
		streams = append(streams, stream)
	}
	return streams, nil
}

func save(path string, verdict object) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(verdict); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

func run(oraclePath, golden, version string) (err error) {
	streams, err := streamsBelow(golden, version)
	if err != nil {
		return err
	}
	o, end, err := startOracle(oraclePath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	outcomes := map[string]int{}
	for _, stream := range streams {
		verdict, err := o.verdict(stream)
		if err != nil {
			return fmt.Errorf("%s: %w", stream.path, err)
		}
		outcomes[fmt.Sprint(verdict["outcome"])]++
		if err = save(stream.target, verdict); err != nil {
			return err
		}
	}
	fmt.Println(version, "verdicts:", outcomes)
	return nil
}

func main() {
	oraclePath := flag.String("oracle", "", "the oracle's program")
	golden := flag.String("golden", "", "directory of the stores")
	version := flag.String("version", "*", "server version whose stores to ask about")
	flag.Parse()
	if *oraclePath == "" || *golden == "" {
		fmt.Fprintln(os.Stderr, "verdict: -oracle and -golden are needed")
		os.Exit(2)
	}
	if err := run(*oraclePath, *golden, *version); err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
		os.Exit(1)
	}
}
