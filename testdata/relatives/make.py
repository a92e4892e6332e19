#!/usr/bin/env python3
"""Makes the stores in this directory with a real server: make.py NATS-SERVER OUT

first/: a stream of 60 messages whose fifth was deleted, mirrors of it (whole, filtered, with rewritten subjects) and streams that source it, of one server.
later/: the same stream, whose server lost the end of its block and stored other messages in its place.
anew/: a stream of the same name that was created after the first was deleted."""

import glob, json, os, shutil, socket, subprocess, sys, tempfile, time

SERVER, OUT = sys.argv[1:3]
STREAMS = "jetstream/$G/streams"


class Run:
    """A server and a client of it."""

    def __init__(self, store):
        self.dir = tempfile.mkdtemp()
        conf = os.path.join(self.dir, "server.conf")
        with open(conf, "w") as out:
            out.write('listen: "127.0.0.1:-1"\njetstream { store_dir: "%s" }\n' % store)
        self.process = subprocess.Popen([SERVER, "-c", conf, "--ports_file_dir", self.dir], stderr=subprocess.DEVNULL)
        while not (files := glob.glob(self.dir + "/*.ports")):
            time.sleep(0.05)
        time.sleep(0.2)
        host, port = json.load(open(files[0]))["nats"][0].removeprefix("nats://").split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")
        self.count = 0
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB _I.> 1\r\n')

    def ask(self, subject, body=b"", headers=None):
        self.count += 1
        reply = "_I.%d" % self.count
        if headers:
            block = "NATS/1.0\r\n" + "".join("%s: %s\r\n" % pair for pair in headers) + "\r\n"
            line = "HPUB %s %s %d %d\r\n%s" % (subject, reply, len(block), len(block) + len(body), block)
        else:
            line = "PUB %s %s %d\r\n" % (subject, reply, len(body))
        self.socket.sendall(line.encode() + body + b"\r\n")
        while words := self.file.readline().split():
            if words[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
            if words[0] in (b"MSG", b"HMSG"):
                answer = self.file.read(int(words[-1]) + 2)[:-2]
                if words[1].decode() == reply:
                    return answer

    def api(self, what, **fields):
        answer = json.loads(self.ask("$JS.API." + what, json.dumps(fields).encode()))
        assert "error" not in answer, answer
        return answer

    def create(self, name, **fields):
        self.api("STREAM.CREATE." + name, name=name, retention="limits", storage="file", num_replicas=1, **fields)

    def publish(self, numbers, word):
        for n in numbers:
            headers = [("Nats-Msg-Id", "%s-%d" % (word, n)), ("Kept", "yes")] if n % 7 == 0 else None
            body = ("%s %d " % (word, n)).encode() + b"x" * (n % 20)
            self.ask("orders.%s.%d" % ("ab"[n % 2], n % 5), body, headers)

    def settled(self, name, count):
        while self.api("STREAM.INFO." + name)["state"]["messages"] < count:
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir)


def first(store):
    run = Run(store)
    run.create("ORDERS", subjects=["orders.>"])
    run.create("MIRROR", mirror={"name": "ORDERS"})
    run.create("FILTERED", mirror={"name": "ORDERS", "filter_subject": "orders.a.*"})
    rewritten = [{"src": "orders.*.*", "dest": "moved.{{wildcard(2)}}.{{wildcard(1)}}"}]
    run.create("REWRITTEN", mirror={"name": "ORDERS", "subject_transforms": rewritten})
    run.create("OTHER", subjects=["other.>"])
    run.create("ALL", subjects=["all.>"], sources=[{"name": "OTHER"}, {"name": "ORDERS"}])
    moved = [{"src": "orders.>", "dest": "moved.>"}]
    run.create("MOVED", sources=[{"name": "ORDERS", "subject_transforms": moved}])
    for n in range(0, 60, 10):
        run.publish(range(n, n + 10), "order")
        run.ask("all.own", b"own %d" % n)
        run.ask("other.%d" % n, b"other %d" % n)
    for name, count in ("MIRROR", 60), ("FILTERED", 30), ("REWRITTEN", 60), ("ALL", 72), ("MOVED", 60):
        run.settled(name, count)
    run.api("STREAM.MSG.DELETE.ORDERS", seq=5)
    run.stop()


def later(store, before):
    shutil.copytree(os.path.join(before, STREAMS, "ORDERS"), os.path.join(store, STREAMS, "ORDERS"))
    msgs = os.path.join(store, STREAMS, "ORDERS", "msgs")
    os.remove(msgs + "/index.db")
    os.truncate(msgs + "/1.blk", os.path.getsize(msgs + "/1.blk") * 3 // 4)
    run = Run(store)
    run.publish(range(100, 105), "later")
    run.stop()


def anew(store):
    run = Run(store)
    run.create("ORDERS", subjects=["orders.>"])
    run.publish(range(200, 210), "anew")
    run.stop()


with tempfile.TemporaryDirectory() as work:
    first(work + "/first")
    later(work + "/later", work + "/first")
    anew(work + "/anew")
    for name in "first", "later", "anew":
        shutil.rmtree(os.path.join(OUT, name), ignore_errors=True)
        shutil.copytree(os.path.join(work, name, STREAMS), os.path.join(OUT, name))
