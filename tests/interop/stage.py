"""The stage: endpoints, hitless in front of each, and what a check is given.

A check is a function of `At`, one way to one endpoint. It does something with a real client and
returns what both ends saw: `{"client": …, "server": …}`. The runner calls it once for direct access
and once for each way through hitless, with TLS and without. Every client verifies the certificate,
by an authority that it is told of in its own way.
"""

import itertools
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = ROOT / "target" / "interop"
# Bounds what would never end; nothing that works takes so long.
PATIENCE = 30

# name: (protocol, command)
ENDPOINTS = {
    "http1": ("http1", ["node", "origin.mjs"]),
    "h2c": ("h2c", None),  # the same process
    "aiohttp": ("http1", [sys.executable, "origins.py", "aiohttp"]),
    "websockets": ("http1", [sys.executable, "origins.py", "websockets"]),
    "uvicorn": ("http1", [sys.executable, "origins.py", "uvicorn"]),
    "gunicorn": ("http1", [sys.executable, "origins.py", "gunicorn"]),
    "grpc": ("h2c", [sys.executable, "origins.py", "grpc"]),
    "nghttpd": ("h2c", None),  # has no port of the kernel's choice
}

checks = []


def check(name, on, clients=("1.1",), tls=True):
    """Registers a check: the endpoints it asks (the first of each protocol is also asked directly),
    the versions of HTTP that its client can speak, and whether it is one over TLS as well."""

    def register(function):
        checks.append((name, function, tuple(on), tuple(clients), tls))
        return function

    return register


class At:
    """One way to one endpoint."""

    numbers = itertools.count(1)

    def __init__(self, stage, endpoint, port, version, tls=False):
        self.stage, self.endpoint, self.port, self.version, self.tls = stage, endpoint, port, version, tls
        self.protocol = ENDPOINTS[endpoint][0]
        self.run = f"{os.getpid()}-{next(At.numbers)}"
        self.http2 = version == "2"
        self.host = f"127.0.0.1:{port}"

    def url(self, path, scheme="http"):
        mark = "&" if "?" in path else "?"
        return f"{self.origin(scheme)}{path}{mark}run={self.run}"

    def origin(self, scheme="http"):
        return f"{scheme}{'s' if self.tls else ''}://{self.host}"

    def directly(self, path):
        """Of the endpoint itself, whichever way this is."""
        return f"http://127.0.0.1:{self.stage.ports[self.endpoint]}{path}?run={self.run}"

    def seen(self, tidy=True):
        """What the endpoint says that it saw of this run, once it says so."""
        try:
            line = self.stage.lines(self.run).get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError("nothing arrived at the endpoint") from None
        line = {key: value for key, value in line.items() if key != "run"}
        if tidy and "fields" in line:
            line["sent fields"] = line.pop("fields")
        return line


class Stage:
    """Starts everything, ends everything."""

    def __init__(self, binary):
        self.binary = binary
        self.ports, self.through, self.secure = {}, {}, {}
        self.processes, self.keeper = [], None
        self._lines, self._lock = {}, threading.Lock()
        self.folder = tempfile.TemporaryDirectory(prefix="hitless-interop-")
        self.path = pathlib.Path(self.folder.name)
        self.files = self.path / "files"
        self.files.mkdir()
        (self.files / "digits").write_bytes(b"0123456789" * 20_000)
        (self.files / "small").write_bytes(b"small\n")
        (self.files / "large").write_bytes(os.urandom(1 << 20) * 8)

    def lines(self, run):
        with self._lock:
            return self._lines.setdefault(run, queue.Queue())

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        self._certify()
        ready = queue.Queue()
        environment = {**os.environ, "INTEROP_MODULES": str(HOME), "INTEROP_FILES": str(self.files)}
        wanted = 0
        for name, (_, command) in ENDPOINTS.items():
            if command is not None:
                process = self.spawn(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
                threading.Thread(target=self._listen, args=(name, process, ready), daemon=True).start()
                wanted += 2 if name == "http1" else 1
        for _ in range(wanted):
            name, port = ready.get(timeout=60)
            if port is None:
                raise RuntimeError(f"the endpoint {name} has ended; what it said is above")
            self.ports[name] = port
        self.ports["nghttpd"] = self._nghttpd()
        self._hitless()

    def _certify(self):
        """An authority for everybody who is started from here, and a certificate for this host."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch", "-days", "2"]
        of = {name: self.path / name for name in ("ca.pem", "ca.key", "leaf.pem", "leaf.key")}
        root = [*key, "-keyout", of["ca.key"], "-out", of["ca.pem"], "-subj", "/CN=interop"]
        leaf = [*key, "-keyout", of["leaf.key"], "-out", of["leaf.pem"], "-subj", "/CN=localhost",
                "-CA", of["ca.pem"], "-CAkey", of["ca.key"], "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "extendedKeyUsage=serverAuth"]
        for command in (root + ["-addext", "keyUsage=critical,keyCertSign"], leaf):
            subprocess.run(["openssl", "req", "-x509", *command], check=True, capture_output=True)
        self.authority = of["ca.pem"]
        # OpenSSL (Python's too), curl, Node, gRPC.
        for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
            os.environ[name] = str(self.authority)

    def spawn(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self.processes.append(process)
        return process

    def _listen(self, name, process, ready):
        for line in process.stdout:
            if line.startswith("ready "):
                _, which, port = line.split()
                ready.put((which, int(port)))
            elif line.startswith("{"):
                seen = json.loads(line)
                self.lines(seen.get("run")).put(seen)
            else:
                print(f"{process.args}: {line}", end="", file=sys.stderr)
        ready.put((name, None))

    def _nghttpd(self):
        """It takes a number only: one that was free a moment ago, until it could bind it."""
        for _ in range(20):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            options = ["--no-tls", "--address=127.0.0.1", f"--htdocs={self.files}", "--echo-upload"]
            trailer = ["--trailer=x-checksum: abc"]
            server = self.spawn(["nghttpd", *options, *trailer, str(port)], stderr=subprocess.DEVNULL)
            while server.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return port
                except ConnectionRefusedError:
                    try:
                        server.wait(0.05)
                    except subprocess.TimeoutExpired:
                        pass
        raise RuntimeError("nghttpd does not start")

    def _hitless(self):
        services = self.path / "services.d"
        services.mkdir()
        config = f"[admin]\nsocket = \"{self.path}/admin.sock\"\n[daemon]\nthreads = 2\n[log]\naccess = \"all\"\n"
        for name, (protocol, _) in ENDPOINTS.items():
            for listener, more in ((name, ""), (f"{name}-tls", "tls = true\n")):
                config += f"[listener.{listener}]\nlisten = [\"127.0.0.1:0\"]\n{more}"
            listeners = f"[\"{name}\", \"{name}-tls\"]"
            lines = f"[service.{name}]\nhosts = [\"*\"]\nlisteners = {listeners}\nprotocol = \"{protocol}\"\n"
            lines += f"endpoints = [\"127.0.0.1:{self.ports[name]}\"]\n"
            (services / f"{name}.toml").write_text(lines)
        config += "[tls]\ncertificates = [{ chain = \"leaf.pem\", key = \"leaf.key\" }]\n"
        (self.path / "hitless.toml").write_text(config)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(self.path / "notify"))
        notify.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.path / "notify")}
        environment.pop("JOURNAL_STREAM", None)
        log = open(self.path / "log", "w")
        command = [self.binary, "run", "--config", self.path]
        self.keeper = self.spawn(command, env=environment, stdout=log, stderr=log)
        while b"READY=1" not in notify.recv(8192):
            pass
        status = [self.binary, "status", "--json", "--config", self.path]
        for listener in json.loads(subprocess.check_output(status))["listeners"]:
            name, port = listener["name"], int(listener["address"].rsplit(":", 1)[1])
            ways = self.secure if name.endswith("-tls") else self.through
            ways[name.removesuffix("-tls")] = port

    def __exit__(self, *_):
        # What is being ended is ended.
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        if self.keeper is not None:
            self.keeper.terminate()
            try:
                self.keeper.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                print("hitless did not end in time", file=sys.stderr)
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.folder.cleanup()


def end_clients():
    """Those that are still there when the checks are given up: whatever else this process has begun."""
    for children in pathlib.Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                pass
