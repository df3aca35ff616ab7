"""A headless Chromium, driven through its DevTools protocol: what the tests of the page see and press."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-port=0"
_KEYS = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "/": 191}
_SHIFT = 8
PATIENCE = 60  # seconds for anything that a page is waited for


class Page:
    """A tab with a storage of its own. `asked` holds the addresses that it has requested, `complaints` its errors."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire, self._count, self._session = wire, 0, ""
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._context = self._call("Target.createBrowserContext")["browserContextId"]
        target = self._call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._wire.send(json.dumps(message))
        while True:
            heard = json.loads(self._wire.recv(timeout=2 * PATIENCE))
            if heard.get("id") == self._count:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return heard["result"]
            self._note(heard)

    def _note(self, heard: dict[str, Any]) -> None:
        event, found = heard.get("method"), heard.get("params", {})
        if event == "Network.requestWillBeSent":
            self.asked.append(found["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(found["exceptionDetails"]))
        elif event == "Log.entryAdded" and found["entry"]["source"] != "network" and found["entry"]["level"] == "error":
            self.complaints.append(found["entry"]["text"])

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    def reload(self) -> None:
        self.run("window.beforeReload = true")
        self._call("Page.reload")
        self.until("!window.beforeReload && document.readyState === 'complete'")

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        done = self._call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"].get("exception", done["exceptionDetails"])
        return done["result"].get("value")

    def until(self, code: str) -> Any:
        """Wait until the expression is true, and return its value."""
        waiting = f"""new Promise((resolve) => {{
            const began = performance.now();
            const look = async () => {{
                let value; try {{ value = await ({code}); }} catch {{ value = null; }}
                if (value instanceof Node) value = true;
                if (value || performance.now() - began > {PATIENCE * 1000}) resolve(value); else setTimeout(look, 10);
            }};
            look();
        }})"""
        value = None
        for _ in range(3):  # a navigation ends the waiting of the page that it replaces
            try:
                value = self.run(waiting)
                break
            except AssertionError as error:
                if "context" not in str(error) and "navigated" not in str(error):
                    raise
        assert value, f"never true: {code}\n{self.run('document.body.innerText')}"
        return value

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({selector!r}).innerText")

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).click()")

    def press(self, key: str, shift: bool = False) -> None:
        text = {"Enter": "\r", "/": "/"}.get(key, "")
        common = {"key": key, "code": {"/": "Slash"}.get(key, key), "windowsVirtualKeyCode": _KEYS[key]}
        common["modifiers"] = _SHIFT if shift else 0
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self._call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def choose_files(self, selector: str, *files: Path) -> None:
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def window(self, width: int, height: int, scheme: str = "light") -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._session = ""
        self._call("Target.disposeBrowserContext", browserContextId=self._context)


@contextmanager
def browser(folder: Path) -> Iterator[ClientConnection]:
    """A running Chromium with its profile in `folder`, and the wire to it."""
    assert CHROMIUM, "no Chromium is installed"
    command = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr
            marked = (line.split()[-1] for line in process.stderr if line.startswith("DevTools listening on"))
            with connect(next(marked), max_size=None) as wire:
                yield wire
        finally:
            process.terminate()
