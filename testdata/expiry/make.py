#!/usr/bin/env python3
"""Makes the stores of this folder anew: make.py NATS-SERVER OUT. Times differ from run to run, nothing else."""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, time

SECOND = 10**9
MESSAGES = [("s.1", "1s"), ("s.2", "1h"), ("s.3", "never"), ("s.4", None), ("s.5", "1"), ("s.1", None), ("s.6", "1s"), ("s.6", "2s")]
TTL = {"allow_msg_ttl": True}
MARKERS = {**TTL, "subject_delete_marker_ttl": SECOND, "allow_rollup_hdrs": True}
AGE = {"max_age": 2 * SECOND, "duplicate_window": SECOND}


class Server:
    """A running server, and a client of it."""

    def __init__(self, program, store):
        ports = tempfile.mkdtemp()
        conf = os.path.join(ports, "conf")
        with open(conf, "w") as file:
            file.write(f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\njetstream: {{ store_dir: "{store}" }}\n')
        self.process = subprocess.Popen([program, "-c", conf], stderr=subprocess.DEVNULL)
        address = None
        while address is None and self.process.poll() is None:
            for name in os.listdir(ports):
                if name.endswith(".ports"):
                    try:
                        address = json.load(open(os.path.join(ports, name)))["nats"][0]
                    except (ValueError, KeyError):
                        pass
            time.sleep(0.005)
        host, port = address.removeprefix("nats://").split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.reader = self.socket.makefile("rb")
        self.asked = 0
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.> 1\r\n')

    def ask(self, subject, body=b"", headers=b""):
        self.asked += 1
        if headers:
            head = f"HPUB {subject} _INBOX.{self.asked} {len(headers)} {len(headers) + len(body)}\r\n"
        else:
            head = f"PUB {subject} _INBOX.{self.asked} {len(body)}\r\n"
        self.socket.sendall(head.encode() + headers + body + b"\r\n")
        while True:
            words = self.reader.readline().split()
            if words[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
            elif words[0] == b"MSG":
                return json.loads(self.reader.read(int(words[-1]) + 2))

    def live(self):
        state = self.ask("$JS.API.STREAM.INFO.S", b'{"deleted_details":true}')["state"]
        gone = state.get("deleted") or []
        return [seq for seq in range(state["first_seq"], state["last_seq"] + 1) if seq not in gone]

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()


def make(program, config, messages, how, wait=3):
    """A store that was left for so many seconds."""
    store = tempfile.mkdtemp()
    server = Server(program, store)
    config = {"name": "S", "subjects": ["s.>"], "storage": "file", **config}
    assert "error" not in server.ask("$JS.API.STREAM.CREATE.S", json.dumps(config).encode())
    for subject, ttl in messages:
        headers = f"NATS/1.0\r\nNats-TTL: {ttl}\r\n\r\n".encode() if ttl else b""
        assert "seq" in server.ask(subject, b"x", headers)
    server.end(how)
    time.sleep(wait)
    return store


def wheel(store):
    return os.path.join(store, "jetstream/$G/streams/S/msgs/thw.db")


def tell(program, out, name, store, note, stored=len(MESSAGES), seconds=1.5):
    """Keeps the store as it lies, starts a server on it, and writes down what it has from then on."""
    place = os.path.join(out, name)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(os.path.join(store, "jetstream/$G/streams/S"), os.path.join(place, "S"))
    now = time.time_ns()
    began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // SECOND)) + ".%09dZ" % (now % SECOND)
    server = Server(program, store)
    ready = time.time()
    first = server.live()
    after = [{"ms": 0, "live": first}]
    while time.time() < ready + seconds:
        live = server.live()
        if live != after[-1]["live"]:
            after.append({"ms": int((time.time() - ready) * 1000), "live": live})
        time.sleep(0.01)
    server.end(signal.SIGTERM)
    told = {"note": note, "server": "2.15.3", "started_at": began, "stored": stored, "at_first": first, "after": after}
    with open(os.path.join(place, "told.json"), "w") as file:
        json.dump(told, file, indent=1)
        file.write("\n")


def main(program, out):
    stop, kill = signal.SIGTERM, signal.SIGKILL
    for name, config, how, note in [
        ("ttl-stopped", TTL, stop, "stopped, started when TTLs were over"),
        ("ttl-killed", TTL, kill, "killed, started when TTLs were over"),
        ("markers-stopped", MARKERS, stop, "delete markers: the last message of a subject leaves one"),
        ("markers-killed", MARKERS, kill, "the same after a kill"),
        ("age-never", {**TTL, **AGE}, stop, "an age limit that is over for all: the open removes also what is to be kept for ever"),
        ("age-never-markers", {**MARKERS, **AGE}, stop, "the same with delete markers: the timers remove, and keep it"),
    ]:
        tell(program, out, name, make(program, config, MESSAGES, how), note)
    over = [(f"s.{number}", "1s") for number in range(5)]
    tell(program, out, "all-over", make(program, TTL, over, kill), "every TTL is over", len(over))
    others = make(program, TTL, [(subject, None) for subject, _ in MESSAGES], stop)
    shutil.copy(wheel(make(program, TTL, MESSAGES, stop)), wheel(others))
    tell(program, out, "wheel-of-others", others, "thw.db has entries of other messages with these sequences")
    empty = make(program, TTL, MESSAGES, stop)
    with open(wheel(empty), "wb") as file:
        file.write(bytes([1]) + (0).to_bytes(8, "little") + (len(MESSAGES) + 1).to_bytes(8, "little"))
    tell(program, out, "wheel-empty", empty, "thw.db is current by its stamp and has no entries", seconds=4)


main(*sys.argv[1:])
