"""transformers.js in Chromium, on a directory whose data lie in several files.

The page and the packages come from a server on this machine; nothing else is asked for anything.
Installed by tools/runtimes.sh.
"""

import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading

import pytest

pytest.importorskip("onnxruntime")
from quantize_cli import QUANTIZE, REPOSITORY, quantized  # noqa: E402
from runtime_checks import check_greedy, report  # noqa: E402
from runtime_models import save_demo_decoder  # noqa: E402

PAGE = pathlib.Path(__file__).with_name("transformers_js.html")
FOLDER = pathlib.Path(os.environ.get("PTQ_NODE_FOLDER", REPOSITORY / "build" / "runtimes" / "npm"))
PACKAGE = FOLDER / "node_modules" / "@huggingface" / "transformers" / "package.json"
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)

pytestmark = [
    pytest.mark.skipif(
        not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
    ),
    pytest.mark.skipif(
        not PACKAGE.exists() or CHROMIUM is None,
        reason="transformers.js or Chromium is absent: run tools/runtimes.sh",
    ),
]
PROMPT = "And it came to pass in those days, that"


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, models, request):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.request = models, request
        self.fetched, self.result, self.done = [], None, threading.Event()


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript",
                      ".wasm": "application/wasm", ".json": "application/json",
                      "": "application/octet-stream"}  # fmt: skip

    def translate_path(self, path):
        path = path.split("?")[0]
        if path.startswith("/models/"):
            self.server.fetched.append(path.removeprefix("/models/"))
            return str(self.server.models / path.removeprefix("/models/"))
        return str(PAGE) if path == "/" else str(FOLDER / path.lstrip("/"))

    def do_GET(self):
        if self.path != "/request":
            return super().do_GET()
        body = json.dumps(self.server.request).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def do_POST(self):
        self.server.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_message(self, *_):
        pass


def browse(models, profile, **request):
    """What the page posts, and which files below `models` it has fetched."""
    server = Server(models, request)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={profile}", "--remote-debugging-port=0"]  # fmt: skip
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    browser = subprocess.Popen(
        [CHROMIUM, *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert server.done.wait(300), f"no result; fetched {server.fetched}"
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()
    assert "error" not in server.result, server.result["error"]
    return server.result, server.fetched


@functools.cache
def version():
    return json.loads(PACKAGE.read_text())["version"]


@pytest.mark.parametrize("bits", [8, 4])
def test_generates_with_data_in_several_files(tmp_path, bits):
    source = save_demo_decoder(tmp_path / "source")
    layout = ["--method", "rtn", "--layout", "transformers.js", "--bits", bits, "--group-size", 32]
    out = tmp_path / "models" / "cut"
    quantized(source, out, *layout, "--accuracy-level", 0, "--max-file-size", "128KiB")
    (config,) = json.loads((out / "config.json").read_text())["transformers.js_config"][
        "use_external_data_format"
    ].items()
    name, count = config
    assert count > 3
    got, fetched = browse(tmp_path / "models", tmp_path / "profile", model="cut", prompt=PROMPT,
                          tokens=24)  # fmt: skip
    expected = {f"cut/onnx/{name}_data{f'_{i}' if i else ''}" for i in range(count)}
    assert {path for path in fetched if "_data" in path} == expected
    report(f"transformers.js {version()} in a browser ({got['agent'].split()[-2]}), {bits} bits: "
           f"{count} data files, {len(got['ids'])} tokens")  # fmt: skip
    check_greedy(out / "onnx" / name, got["ids"], len(got["ids"]) - 24, slack=1e-3)
