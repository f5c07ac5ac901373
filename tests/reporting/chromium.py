"""A real headless Chromium, driven by the Chrome DevTools protocol over a pipe: no port, no further package."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip
# Chromium reads commands on descriptor 3 and answers on 4.
LAUNCH = "import os, sys as s; os.dup2(int(s.argv[1]), 3); os.dup2(int(s.argv[2]), 4); os.execv(s.argv[3], s.argv[3:])"
PATIENCE = 60  # seconds until a browser that does not answer is given up


def find_chromium():
    """The browser's path, or a skip that says how to get one."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser here (none of {', '.join(NAMES)}): apt-get install chromium")


class Browser:
    """One tab. `requests` and `dialogs` hold what pages asked the network for and what they popped up."""

    def __init__(self, folder: Path):
        path = find_chromium()
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]  # away from 3 and 4
        launch = [sys.executable, "-c", LAUNCH, *map(str, ends), path]
        flags = "--headless=new --remote-debugging-pipe --disable-gpu --no-first-run --disable-dev-shm-usage"
        flags += " --disable-background-networking --disable-component-update --hide-scrollbars about:blank"
        if os.geteuid() == 0:
            flags = f"--no-sandbox {flags}"
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*launch, f"--user-data-dir={folder / 'profile'}", *flags.split()],
                pass_fds=ends, stdout=log, stderr=log,
            )  # fmt: skip
        for end in (commands, answers, *ends):
            os.close(end)
        self._buffer, self._count, self._session = b"", 0, None
        self._events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        self.requests, self.dialogs = [], []

    def close(self):
        os.close(self._to)
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._from)

    def call(self, method, **params):
        """Send a command and return its result; events that come in between are noted."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._count:
            self._note(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def open(self, path, *, scheme="light", width=1200, javascript=True):
        """Load a file and wait until it has loaded."""
        self.requests, self.dialogs, self._events = [], [], []
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setScriptExecutionDisabled", value=not javascript)
        self.call("Page.navigate", url=Path(path).as_uri())
        while "Page.loadEventFired" not in self._events:
            self._note(self._receive())

    def evaluate(self, expression):
        """The JSON-able value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key):
        named = {"key": key, "windowsVirtualKeyCode": KEYS[key], "code": "Space" if key == " " else key}
        self.call("Input.dispatchKeyEvent", type="keyDown" if key == " " else "rawKeyDown", **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def hover(self, selector):
        self._mouse("mouseMoved", selector)

    def click(self, selector):
        self._mouse("mousePressed", selector, button="left", clickCount=1)
        self._mouse("mouseReleased", selector, button="left", clickCount=1)

    def screenshot(self):
        """PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"])

    def _mouse(self, kind, selector, **more):
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'});"
            " const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **more)

    def _receive(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            data = os.read(self._from, 1 << 20) if ready else b""
            assert data, f"Chromium does not answer (exit status {self._process.poll()})"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self._count += 1
            answer = {"id": self._count, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            os.write(self._to, json.dumps(answer | {"sessionId": self._session}).encode() + b"\0")
