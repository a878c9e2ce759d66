"""Chromium: a page, what it fetches, and a WebSocket; `run.py --browser`.

It has a profile of its own, whose NSS database is told of the authority: certificates are verified as
everywhere else.
"""

import html
import json
import os
import pathlib
import re
import subprocess
import tempfile

from stage import check

# A browser takes its time on a machine with much to do; this only guards against hanging.
PATIENCE = 300


def dumped(at, url):
    """The page, once it has loaded, as the browser has it."""
    with tempfile.TemporaryDirectory() as home:
        store = pathlib.Path(home, ".pki/nssdb")
        store.mkdir(parents=True)
        certutil = ["certutil", "-d", f"sql:{store}"]
        subprocess.run([*certutil, "-N", "--empty-password"], check=True, capture_output=True)
        trust = ["-A", "-t", "C,,", "-n", "interop", "-i", at.stage.authority]
        subprocess.run([*certutil, *trust], check=True, capture_output=True)
        # Nothing but the page is asked for; the sandbox is not for root.
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   f"--user-data-dir={home}/profile", "--dump-dom"]
        environment = {**os.environ, "HOME": home}
        done = subprocess.run(["chromium", *options, url], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    if found is None or not found[1]:
        raise AssertionError(f"no page: {done.stdout[:2000]}\n{done.stderr[-2000:]}")
    return json.loads(html.unescape(found[1]))


@check("chromium page with fetches and a WebSocket", ("http1",))
def page(at):
    seen = dumped(at, at.url("/page"))
    protocol = seen.pop("protocol")
    assert protocol == ("h2" if at.tls else "http/1.1"), protocol
    fetched = at.stage.lines(f"{at.run}-fetch")
    targets = sorted(fetched.get(timeout=PATIENCE)["target"].split("&")[0] for _ in range(20))
    socket = at.stage.lines(f"{at.run}-socket").get(timeout=PATIENCE)
    socket.pop("run")
    return {"client": seen, "server": {"targets": targets, "socket": socket}}
