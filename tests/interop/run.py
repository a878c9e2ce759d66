"""Real clients and servers, directly and through hitless: `make interop`, or
`target/interop/venv/bin/python tests/interop/run.py [--only WORD] [--browser] [--verbose]`.

For each check and each version of HTTP that its client speaks, what the client saw is compared with
what it sees at the same endpoint without hitless, and what the endpoint saw with what it sees of the
same client without hitless. explained.py has the differences that are meant. Over TLS it is the same, in
front of the first endpoint of each check: nothing but TLS may be different.
"""

import argparse
import concurrent.futures
import os
import pathlib
import signal
import sys
import time
import traceback

import explained
import stage
from stage import At, Stage, checks

import conformance
import http_checks  # noqa: F401  registers its checks
import python_checks  # noqa: F401
import node_checks  # noqa: F401
import websocket_checks  # noqa: F401
import grpc_checks  # noqa: F401
import tls_checks  # noqa: F401
import browser_checks  # noqa: F401

OWN = {"http1": "1.1", "h2c": "2"}


class Runner:
    def __init__(self, scene, verbose):
        self.scene, self.verbose = scene, verbose
        self.results = []

    def run(self, name, function, on, clients, tls):
        """All ways of one check. What the client sees depends on the endpoint, what the endpoint sees
        on the client, so each is compared with its own direct access, in the endpoint's own version."""
        own = {endpoint: OWN[stage.ENDPOINTS[endpoint][0]] for endpoint in on}
        directly = {endpoint: self.observe(name, function, endpoint, self.scene.ports, version)
                    for endpoint, version in own.items() if version in clients}
        for endpoint in on:
            for version in clients:
                same = [one for endpoint, one in directly.items() if own[endpoint] == version]
                by_client = directly[endpoint] if own[endpoint] == version else (same or [*directly.values()])[0]
                by_endpoint = directly.get(endpoint, by_client)
                if not same and endpoint in directly:
                    by_client = by_endpoint
                for secure in (False, True)[:2 if tls and endpoint == on[0] else 1]:
                    ports = self.scene.secure if secure else self.scene.through
                    through = self.observe(name, function, endpoint, ports, version, secure)
                    found = explained.differences(
                        {"client": by_endpoint.get("client"), "server": by_client.get("server")},
                        {"client": through.get("client"), "server": through.get("server")},
                        borrowed=endpoint not in directly,
                    )
                    broken = [one for one in (by_endpoint, by_client, through) if "error" in one]
                    found += [f"the check itself failed: {one['error']}" for one in broken]
                    over = " over TLS" if secure else ""
                    self.results.append((f"{name}, HTTP/{version}{over} to {endpoint}", found))

    def observe(self, name, function, endpoint, ports, version, secure=False):
        began = time.monotonic()
        try:
            return function(At(self.scene, endpoint, ports[endpoint], version, secure))
        except Exception:
            return {"error": traceback.format_exc()}
        finally:
            if self.verbose and time.monotonic() - began > 3:
                print(f"slow    {name}: {time.monotonic() - began:.1f} s at {endpoint} in HTTP/{version}", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", default=stage.ROOT / "target/debug/hitless")
    arguments.add_argument("--only", default="", help="the checks with this word in their name")
    arguments.add_argument("--browser", action="store_true", help="Chromium instead of all others")
    arguments.add_argument("--verbose", action="store_true")
    options = arguments.parse_args()
    # Everything is on this host: none of it is to be asked of a proxy.
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
        del os.environ[name]
    # Stopped from outside, it ends what it has started too.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()
    try:
        with Stage(pathlib.Path(options.binary).resolve()) as scene:
            runner = Runner(scene, options.verbose)
            is_chosen = lambda name: options.only in name and name.startswith("chromium") == options.browser  # noqa: E731
            run(runner, [one for one in checks if is_chosen(one[0])])
            if not options.browser:
                runner.results += conformance.run(scene, options.only, options.verbose)
            log = (scene.path / "log").read_text()
    except SystemExit as stopped:
        # Not by the interpreter, which would wait for the checks that are under way.
        stage.end_clients()
        print("interop: stopped", file=sys.stderr, flush=True)
        os._exit(stopped.code)
    return report(runner.results, options, log, time.monotonic() - began)


def run(runner, chosen):
    """Four at a time: they mostly wait."""
    pool = concurrent.futures.ThreadPoolExecutor(4)
    try:
        for _ in pool.map(lambda one: runner.run(*one), chosen):
            pass
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def report(results, options, log, took):
    failed = [(name, found) for name, found in results if found]
    for name, found in results:
        if options.verbose and not found:
            print(f"ok      {name}")
    for name, found in failed:
        print(f"FAILED  {name}")
        for line in found:
            print("        " + line.replace("\n", "\n        "))
    if "panicked" in log:
        failed.append(("hitless panicked", []))
        print("FAILED  hitless panicked; its log:\n" + log)
    if not options.only and not options.browser:
        for row in explained.unused():
            print(f"note    no check needed the explanation of '{row}'")
    rows = len(explained.applied)
    print(f"interop: {len(results) - len(failed)} passed, {len(failed)} failed, "
          f"{rows} explained kinds of difference, {took:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
