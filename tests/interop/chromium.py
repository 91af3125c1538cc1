"""Pages opened in the real Chromium, which is asked to say everything that goes wrong."""

import contextlib
import shutil

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Pages:
    """Opens files; `problems` are messages of the console, errors, and requests for anything else."""

    def __init__(self, browser):
        self._browser = browser
        self.problems = []

    def open(self, file, width=1400, scheme="light", javascript=True):
        """A page with an empty profile of its own."""
        page = self._browser.new_page(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=javascript,
        )
        address = file.resolve().as_uri()
        page.on("console", lambda message: self.problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", lambda request: self._check(request.url, address))
        page.goto(address)
        return page

    def _check(self, url, address):
        if url.split("#")[0] != address:
            self.problems.append(f"request: {url}")


@contextlib.contextmanager
def chromium():
    """Once at a time in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Pages(browser)
        browser.close()
