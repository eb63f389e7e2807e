#!/usr/bin/env python3
"""The whole picture on one machine: client -> Envoy -> Flask application, with Revoxy checking every request.

Starts Revoxy, the application and Envoy (and Redis with DEMO_STORE=redis), walks through login, refresh and
logout, then stays up until Ctrl-C. Everything it makes lies in .demo/. See README.md beside this file.
"""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / ".demo"

HOST = "127.0.0.1"
ISSUER = "https://auth.shop.example"
AUDIENCE = "shop"

# Where everything listens, unless the port is taken. The first four are also those of envoy.yaml.
PORTS = {"envoy": 10000, "admin": 9901, "app": 5000, "check": 9001, "operations": 9090, "api": 9091, "redis": 6380}
ENVOY_YAML_PORTS = ("envoy", "admin", "app", "check")

START_DEADLINE = 60  # seconds until a process is ready
STOP_DEADLINE = 10  # seconds from SIGTERM to SIGKILL
ANSWER_DEADLINE = 10  # seconds for one answer of the walk-through

PR_SET_PDEATHSIG = 1

JWT = re.compile(r"\beyJ[\w-]*\.[\w-]+\.[\w-]*")

REVOXY_YAML = """\
server:
  check: {host}:{check}
  operations: {host}:{operations}
  api: {host}:{api}
issuers:
  - name: shop
    issuer: {issuer}
    audiences: [{audience}]
    algorithms: [RS256]
    keys: {{ pem_file: {public_key} }}
revocation:
  enabled: true
  token_types: [access, refresh]
  store: {{ {store} }}
policies:
  default: {{ token: required, token_type: access }}
  refresh: {{ token: required, token_type: refresh }}
  public: {{ token: none }}
"""


class DemoError(Exception):
    """The demo cannot go on; the message is for the user."""


# ---------------------------------------------------------------- output

COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOURED else text


def bold(text: str) -> str:
    return colour("1", text)


def dim(text: str) -> str:
    return colour("2", text)


def green(text: str) -> str:
    return colour("32", text)


def red(text: str) -> str:
    return colour("31", text)


def shortened(text: str) -> str:
    """The text without any whole token: no token belongs on a screen or in a CI log."""
    return JWT.sub(lambda token: token.group()[:6] + "…", text)


# ---------------------------------------------------------------- processes


class Processes:
    """The children: each with a log in .demo/, all watched, none left behind."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen] = {}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("REVOXY_")}

    def start(self, name: str, *command: str, **environment: str) -> None:
        with open(log_of(name), "wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(),
            )

    def check(self) -> None:
        for name, child in self.running.items():
            if child.poll() is not None:
                raise DemoError(f"{name} ended by itself, with status {child.returncode}\n{tail(name)}")

    def wait_until_ready(self, name: str, ready) -> None:
        """Polls until `ready()` says None; until then it says what is missing."""
        deadline = time.monotonic() + START_DEADLINE
        missing = "not asked yet"
        while time.monotonic() < deadline:
            self.check()
            try:
                missing = ready()
            except (OSError, http.client.HTTPException) as error:
                missing = str(error)
            if missing is None:
                print(f"  {green('✓')} {name:<8} {dim(f'process {self.running[name].pid}, log {log_of(name)}')}")
                return
            time.sleep(0.1)
        raise DemoError(f"{name} was not ready after {START_DEADLINE} s: {missing}\n{tail(name)}")

    def stop(self) -> None:
        """SIGTERM to all, front to back, and SIGKILL for whoever is still there at the deadline."""
        children = list(reversed(self.running.items()))
        for _, child in children:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_DEADLINE
        for name, child in children:
            try:
                child.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f"{name} did not stop within {STOP_DEADLINE} s: killed", file=sys.stderr)
                child.kill()
                child.wait()


def die_with_parent():
    """What a child does before it becomes its program: have the kernel kill it should the demo vanish."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it vanished before the line above
            os._exit(1)

    return before_exec


def log_of(name: str) -> Path:
    return RUN / f"{name}.log"


def tail(name: str, lines: int = 20) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", log_of(name).read_text(errors="replace")).splitlines()[-lines:]
    return "\n".join([f"--- the end of {log_of(name)}", *map(shortened, text or ["(empty)"])])


# ---------------------------------------------------------------- preparation


def program(variable: str, default: Path | str, hint: str) -> str:
    wanted = os.environ.get(variable) or str(default)
    found = shutil.which(wanted)
    if found is None:
        raise DemoError(f"there is no program {wanted}: {hint}")
    return os.path.abspath(found)


def take_run_directory() -> None:
    """An empty .demo/ of our own. The lock keeps a second demo out; it is held until this process ends."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(RUN, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoError(f"another demo is running in {RUN}") from None
    RUN.chmod(0o700)
    for entry in RUN.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def choose_ports(names: list[str]) -> dict[str, int]:
    """The default ports, or free ones where those are taken. All stay bound until all are chosen."""
    held, ports = [], {}

    def bind(port: int) -> int:
        # All addresses: a listener on any of them makes it fail, also one that shares its port as Envoy does.
        probe = socket.socket()
        held.append(probe)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
        return probe.getsockname()[1]

    try:
        for name in names:
            try:
                ports[name] = bind(PORTS[name])
            except OSError:
                pass
        for name in names:
            if name not in ports:
                ports[name] = bind(0)
                print(f"  port {PORTS[name]} ({name}) is taken: using {ports[name]} instead")
    finally:
        for probe in held:
            probe.close()
    return ports


def make_keys() -> tuple[Path, Path]:
    """The application's signing key pair. Revoxy gets to see only the public half."""
    try:
        from cryptography.hazmat.primitives import serialization as pem
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise DemoError("cryptography is missing: run scripts/setup, then .venv/bin/python examples/demo.py") from None

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private_key, public_key = RUN / "private.pem", RUN / "public.pem"
    descriptor = os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    public_key.write_bytes(key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return private_key, public_key


def render_revoxy_yaml(ports: dict[str, int], public_key: Path, store: str) -> Path:
    if store == "redis":
        store = f"redis: {{ url: redis://{HOST}:{ports['redis']}/0 }}"
    else:
        store = f"sqlite: {{ path: {json.dumps(str(RUN / 'revoxy.sqlite'))} }}"
    rendered = RUN / "revoxy.yaml"
    rendered.write_text(
        REVOXY_YAML.format(
            host=HOST, issuer=ISSUER, audience=AUDIENCE, public_key=json.dumps(str(public_key)), store=store, **ports
        )
    )
    return rendered


def render_envoy_yaml(ports: dict[str, int]) -> Path:
    """The envoy.yaml of this repository with our ports in the place of its own."""
    source = ROOT / "envoy.yaml"
    if not source.is_file():
        raise DemoError(f"{source} is missing")
    text = source.read_text()
    chosen = {str(PORTS[name]): str(ports[name]) for name in ENVOY_YAML_PORTS}
    port_value = re.compile(r"(?<=\bport_value: )\d+\b")
    present = port_value.findall(text)
    for port in chosen:
        times = present.count(port)
        if times != 1:
            raise DemoError(f"{source}: expected `port_value: {port}` exactly once, found it {times} times")
    rendered = RUN / "envoy.yaml"
    rendered.write_text(port_value.sub(lambda port: chosen.get(port.group(), port.group()), text))
    return rendered


# ---------------------------------------------------------------- HTTP


class Answer:
    def __init__(self, status: int, challenge: str | None, body: str) -> None:
        self.status = status
        self.challenge = challenge  # the WWW-Authenticate header
        self.body = body

    def field(self, name: str):
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value.get(name) if isinstance(value, dict) else None


def http_request(port: int, method: str, path: str, headers=None, body=None, timeout=ANSWER_DEADLINE) -> Answer:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        return Answer(response.status, response.getheader("WWW-Authenticate"), text)
    finally:
        connection.close()


def answers(port: int, path: str, status: int):
    """A readiness question: does this path answer with this status?"""

    def ready() -> str | None:
        answer = http_request(port, "GET", path, timeout=2)
        if answer.status == status:
            return None
        return f"GET {path} answers {answer.status}, not {status}: {answer.body[:300]}"

    return ready


# ---------------------------------------------------------------- starting everything


def start_everything(processes: Processes, ports: dict[str, int], store: str, revoxy: str, envoy: str) -> None:
    private_key, public_key = make_keys()
    revoxy_yaml = render_revoxy_yaml(ports, public_key, store)
    envoy_yaml = render_envoy_yaml(ports)

    if store == "redis":
        start_redis(processes, ports["redis"])

    processes.start("revoxy", revoxy, "serve", "--config", str(revoxy_yaml))
    processes.start(
        "app",
        sys.executable,
        str(ROOT / "examples" / "flask-app" / "app.py"),
        PORT=str(ports["app"]),
        BIND=HOST,
        REVOXY_API=f"http://{HOST}:{ports['api']}",
        JWT_PRIVATE_KEY_FILE=str(private_key),
        JWT_PUBLIC_KEY_FILE=str(public_key),
        JWT_ISSUER=ISSUER,
        JWT_AUDIENCE=AUDIENCE,
        PYTHONDONTWRITEBYTECODE="1",
    )
    processes.wait_until_ready("revoxy", answers(ports["operations"], "/readyz", 200))
    processes.wait_until_ready("app", answers(ports["app"], "/protected", 401))

    processes.start("envoy", envoy, "-c", str(envoy_yaml), "--disable-hot-restart", "--log-level", "warning")
    processes.wait_until_ready("envoy", lambda: envoy_is_ready(ports))


def start_redis(processes: Processes, port: int) -> None:
    redis = program("REDIS_BIN", "redis-server", "DEMO_STORE=redis needs a redis-server (or name one in REDIS_BIN)")
    (RUN / "redis").mkdir()
    listen = ("--bind", HOST, "--port", str(port))
    persist = ("--save", "", "--appendonly", "yes", "--dir", str(RUN / "redis"))
    processes.start("redis", redis, *listen, *persist)

    def ready() -> str | None:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
        return None if answer.startswith(b"+PONG") else f"PING answers {answer!r}"

    processes.wait_until_ready("redis", ready)


def envoy_is_ready(ports: dict[str, int]) -> str | None:
    missing = answers(ports["admin"], "/ready", 200)()
    if missing:
        return missing
    clusters = http_request(ports["admin"], "GET", "/clusters", timeout=2).body.splitlines()
    for name in ("check", "app"):
        if not any(line.endswith(f":{ports[name]}::health_flags::healthy") for line in clusters):
            return f"no healthy upstream on port {ports[name]} ({name})"
    return None


# ---------------------------------------------------------------- the walk-through


class Walk:
    """Sends requests through Envoy, shows them with their answers, and counts the unexpected ones."""

    def __init__(self, processes: Processes, ports: dict[str, int]) -> None:
        self.processes, self.ports = processes, ports
        self.steps = self.failures = 0

    def step(self, title: str, method: str, path: str, expect: int, token=None, send=None, reason=None) -> Answer:
        headers, options = {}, []
        if method != "GET":
            options += ["-X", method]
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
            options += ["-H", f"Authorization: Bearer {token[:6]}…"]
        body = None
        if send is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(send)
            options += ["-H", "Content-Type: application/json", "-d", body]

        self.steps += 1
        print(f"\n{bold(f'{self.steps:2}. {title}')}")
        command = ["curl", "-i", *options, f"http://{HOST}:{self.ports['envoy']}{path}"]
        print("    " + dim("$ " + shlex.join(command)))

        self.processes.check()
        try:
            answer = http_request(self.ports["envoy"], method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.processes.check()
            self.show(False, f"no answer: {error}", f"{expect} expected")
            return Answer(0, None, "")

        # Revoxy refuses with a challenge, the application by itself would not: this tells who refused.
        problems = []
        if answer.status != expect:
            problems.append("another status")
        elif expect == 401 and answer.challenge is None:
            problems.append("no WWW-Authenticate header, so it was not Revoxy that refused")
        if reason is not None and answer.field("reason") != reason:
            problems.append(f"reason is not {reason!r}")
        expected = f"{expect} expected" + (f", reason {reason}" if reason else "")
        self.show(not problems, str(answer.status), "; ".join([expected, *problems]))
        if answer.challenge is not None:
            print(f"      WWW-Authenticate: {shortened(answer.challenge)}")
        for line in shortened(answer.body).strip()[:2000].splitlines():
            print(f"      {line}")
        return answer

    def show(self, good: bool, outcome: str, expected: str) -> None:
        self.failures += not good
        print(f"    {green('✓') if good else red('✗')} {outcome} {dim('(' + expected + ')')}")

    def metrics(self) -> None:
        """What Revoxy counted meanwhile."""
        path = f":{self.ports['operations']}/metrics"
        print(f"\n{bold('And this is what Revoxy counted')}\n    {dim(f'$ curl http://{HOST}{path}')}")
        text = http_request(self.ports["operations"], "GET", "/metrics").body
        counted = [
            line
            for line in text.splitlines()
            if re.match(r"revoxy_checks_total[{ ]", line) and float(line.rsplit(" ", 1)[1]) != 0
        ]
        self.show(bool(counted), f"{len(counted)} counters of revoxy_checks_total", "those that are not zero")
        for line in counted:
            print(f"      {line}")


def walk_through(walk: Walk) -> None:
    step = walk.step
    step("Without a token, Revoxy refuses and the application hears nothing of it", "GET", "/protected", 401)

    answer = step("Log in", "POST", "/login", 200, send={"username": "test", "password": "test"})
    access, refresh = answer.field("access_token") or "", answer.field("refresh_token") or ""

    step("The access token opens the protected route", "GET", "/protected", 200, access)
    step("The refresh token does not: wrong token type", "GET", "/protected", 401, refresh)
    step("Nor does the access token refresh", "POST", "/refresh", 401, access)

    step("Log out: the application tells Revoxy to revoke this access token", "DELETE", "/logout", 200, access)
    step("The same access token, still unexpired, is refused", "GET", "/protected", 401, access, reason="revoked")

    answer = step("The refresh token is another token, and still good", "POST", "/refresh", 200, refresh)
    access = answer.field("access_token") or ""
    step("The new access token works", "GET", "/protected", 200, access)

    step("Revoke the refresh token too", "DELETE", "/logout2", 200, refresh)
    step("Now there are no new access tokens either", "POST", "/refresh", 401, refresh, reason="revoked")

    walk.metrics()


def stay_up(processes: Processes, ports: dict[str, int], store: str) -> None:
    envoy, api = f"http://{HOST}:{ports['envoy']}", f"http://{HOST}:{ports['api']}"
    operations = f"http://{HOST}:{ports['operations']}"
    try_it = f"""\
TOKEN=$(curl -s {envoy}/login -H 'Content-Type: application/json' -d '{{"username": "test", "password": "test"}}' \\
  | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
curl -i {envoy}/protected -H "Authorization: Bearer $TOKEN"   # 200
curl -i {api}/oauth2/revoke -d "token=$TOKEN"
curl -i {envoy}/protected -H "Authorization: Bearer $TOKEN"   # 401, revoked"""
    if store == "redis":
        try_it += f"\nredis-cli -p {ports['redis']} --scan --pattern 'revoxy:*'"
    print(
        f"""
{bold('Everything stays up until Ctrl-C')}
  Envoy, in front of the application   {envoy}
  Envoy admin                          http://{HOST}:{ports['admin']}
  Revoxy metrics                       {operations}/metrics
  Revoxy readiness                     {operations}/readyz
  Revoxy revocation API                {api}
  Configurations, keys and logs        {RUN}

{bold('Try it by hand')}
{try_it}
"""
    )
    while True:
        processes.check()
        time.sleep(0.25)


# ---------------------------------------------------------------- main


def run(processes: Processes) -> int:
    store = os.environ.get("DEMO_STORE") or "sqlite"
    if store not in ("sqlite", "redis"):
        raise DemoError(f"DEMO_STORE is sqlite or redis, not {store}")
    revoxy = program("REVOXY_BIN", ROOT / "target" / "demo" / "revoxy", "run make demo, or name it in REVOXY_BIN")
    envoy = program("ENVOY_BIN", ROOT / ".venv" / "bin" / "envoy", "run scripts/setup, or name it in ENVOY_BIN")
    take_run_directory()

    print(bold(f"Starting Revoxy with {store}, the application and Envoy"))
    ports = choose_ports([name for name in PORTS if name != "redis" or store == "redis"])
    start_everything(processes, ports, store, revoxy, envoy)

    walk = Walk(processes, ports)
    walk_through(walk)
    if walk.failures:
        print(f"\n{red(f'✗ not as expected: {walk.failures}')} (logs in {RUN})")
    else:
        print(f"\n{green('✓ everything as expected')}")

    if os.environ.get("DEMO_EXIT") != "1":
        try:
            stay_up(processes, ports, store)
        except KeyboardInterrupt:
            print()
    return 1 if walk.failures else 0


def main() -> int:
    sys.stdout.reconfigure(errors="replace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))

    processes = Processes()
    try:
        return run(processes)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        processes.stop()


if __name__ == "__main__":
    sys.exit(main())
