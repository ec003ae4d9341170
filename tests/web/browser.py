"""Headless Chromium, as a person meets the studio: a window, light or dark, a mouse and keys."""

import os
import pathlib
import shutil
import tempfile
import time

import axe_core_python
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PATIENCE = 60
AXE = (pathlib.Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
DESK, PHONE = (1440, 900), (390, 844)


def program(*names):
    """The first of these programs that is installed."""
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        raise AssertionError(f"none of {', '.join(names)} is installed")
    return found[0]


class Browser:
    """One window with a profile of its own, from `with` until its end."""

    def __init__(self, base, size=DESK, dark=False):
        self.base, self.size, self.dark = base, size, dark

    def __enter__(self):
        self.profile = tempfile.mkdtemp(prefix="tollgate-web-")
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium", "chromium-browser", "google-chrome")
        arguments = ["--headless=new", "--disable-background-networking", "--disable-dev-shm-usage"]
        arguments += [f"--user-data-dir={self.profile}", f"--window-size={self.size[0]},{self.size[1]}"]
        # Chromium's own sandbox refuses to start as root.
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        for argument in arguments:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
        width, height = self.size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        colours = [{"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})
        return self

    def __exit__(self, *_):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, room="review", **query):
        """Opens a room as if by its link."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        self.driver.get("about:blank")
        self.driver.get(f"{self.base}/studio#/{room}{'?' + asked if asked else ''}")

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.until(lambda: next(iter(self.all(selector)), None), f"{selector} does not appear")

    def text(self, selector):
        """The text of the first of these, exactly as it stands in the page."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def press(self, *keys):
        """Keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script, *arguments):
        self.driver.set_script_timeout(PATIENCE)
        return self.driver.execute_async_script(script, *arguments)

    def until(self, seen, what):
        """Waits until `seen` gives something true, and returns it."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = seen()
            except StaleElementReferenceException:
                found = None
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"{what}; the page says: {self.text('body')[:600]!r}")
            time.sleep(0.05)

    def complaints(self):
        """What the page, its content policy or its script complained of."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]

    def faults(self):
        """What axe finds serious or worse."""
        self.run(AXE)
        found = self.run_async("axe.run(document, {resultTypes: ['violations']}).then(arguments[0], (e) => arguments[0]({violations: [{impact: 'critical', id: String(e), nodes: []}]}))")
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')}" for one in serious for node in one["nodes"] or [{"html": ""}]]
