"""The studio's Drift: fixed prompts beside their baselines, and windows of new pictures against accepted ones."""

import os
import pathlib
import sqlite3
import sys
import tempfile
import time
import unittest
import unittest.mock
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from selenium.webdriver.common.keys import Keys  # noqa: E402

import onnx  # noqa: E402
from browser import DESK, PHONE, Browser  # noqa: E402
from house import PATIENCE, ROOT, House, call  # noqa: E402

CHANGED, OTHER = "stability/core", "stability/sd3.5-medium"
HOURS_US = 3_600_000_000


def wait(seen, what, house):
    """Waits until `seen` gives something true, and returns it."""
    end = time.monotonic() + 3 * PATIENCE
    while not (found := seen()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}:\n{house.said()}")
        time.sleep(0.2)
    return found


def one_provider(folder):
    """The shipped policy with the other providers off: fewer pictures tell as much."""
    text = (ROOT / "policies/default.toml").read_text()
    for name in ("google", "ideogram", "openai", "comfyui", "automatic1111"):
        text = text.replace(f"[provider.{name}]\n", f'[provider.{name}]\noff = "not tried here"\n')
    path = pathlib.Path(folder) / "policy.toml"
    path.write_text(text)
    return path


def spoil(ledger):
    """Makes the audit two hours old, and one model's baselines another model's."""
    with sqlite3.connect(ledger) as books:
        books.execute("UPDATE audit SET seen_us = seen_us - ?", (2 * HOURS_US,))
        books.execute(
            "UPDATE audit SET baseline = (SELECT other.baseline FROM audit other WHERE other.model = ? AND other.subject = audit.subject)"
            " WHERE model = ?",
            (OTHER, CHANGED),
        )
    books.close()


class Drift(unittest.TestCase):
    """From a first audit over a changed model to windows that are compared."""

    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        encoder = pathlib.Path(folder) / "colours.onnx"
        encoder.write_bytes(onnx.colours())
        arguments = ["--policy", str(one_provider(folder)), "--data", folder]
        named = {"TOLLGATE_AUDIT__HOURS": "1", "TOLLGATE_AUDIT__ENCODER": str(encoder), "TOLLGATE_AUDIT__PIXELS": "unit"}
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, named))
        with House(*arguments) as house:
            wait(lambda: "models drew the fixed prompts" in house.said(), "the first audit ends", house)
            told = call(f"{house.api}/studio/api/drift")
            assert all(len(model["pictures"]) == 3 and not model["changed"] for model in told["models"]), told
        spoil(pathlib.Path(folder) / "tollgate.db")
        cls.house = cls.enterClassContext(House(*arguments))
        cls.page = cls.enterClassContext(Browser(cls.house.api))

    def test_1_a_changed_model_is_shown_in_pictures_and_words(self):
        page, house = self.page, self.house
        page.open("drift")
        wait(lambda: "models drew the fixed prompts" in house.said(), "the second audit ends", house)
        box = page.until(lambda: next(iter(page.all(".model.changed[open]")), None), "the changed model is open")
        page.until(lambda: len(page.all(".model.changed .trio img")) == 9, "three pictures of each prompt")
        self.assertEqual(box.get_attribute("data-model"), CHANGED)
        self.assertEqual(page.run("return document.querySelector('.model').dataset.model"), CHANGED, "it is the first")
        self.assertIn("✕ Changed", page.text(".model.changed summary"))
        self.assertIn("another picture", page.text(".model.changed .subject.changed"))
        self.assertRegex(page.text(".model.changed .measures"), r"DSSIM\)0\.\d\d\dPerceptual hash\d+ of 64 bits")
        page.run("document.querySelectorAll('.trio img').forEach((image) => { image.loading = 'eager'; })")
        page.until(lambda: page.run("return [...document.querySelectorAll('.model.changed .trio img')].every((image) => image.naturalWidth > 0)"), "they are loaded")
        heat = page.run("return document.querySelectorAll('.model.changed .trio img')[2].alt")
        self.assertRegex(heat, r"Heat map of stability/core, “.+”: another picture, dissimilarity 0\.\d+ of 1")
        with urllib.request.urlopen(f"{house.admin}/metrics") as answer:
            metrics = answer.read().decode()
        bounds = {"tollgate_drift_dissimilarity_ratio": 0.05, "tollgate_drift_hash_bits": 4, "tollgate_drift_changed_pictures": 0}
        for name, least in bounds.items():
            (line,) = [line for line in metrics.splitlines() if line.startswith(f'{name}{{model="{CHANGED}"}}')]
            self.assertGreater(float(line.split()[-1]), least)
        self.assertEqual(page.complaints(), [])

    def test_2_the_others_open_by_keys(self):
        page = self.page
        summary = page.one(f'.model[data-model="{OTHER}"] summary')
        self.assertIn("✓ As before", page.text(f'.model[data-model="{OTHER}"] summary'))
        page.run("arguments[0].focus()", summary)
        page.press(Keys.ENTER)
        page.until(lambda: len(page.all(f'.model[data-model="{OTHER}"][open] .trio img')) == 9, "it opens")
        self.assertIn("the very same picture", page.text(f'.model[data-model="{OTHER}"] .subject'))
        page.press("1")
        page.one("main.review")
        page.press("5")
        page.one("main.drift .model")

    def test_3_windows_are_compared_as_pictures_come(self):
        page, house = self.page, self.house
        self.assertIn("it takes 8 accepted and 8 other", page.text(".card[aria-labelledby=samples]"))
        for number in range(6):
            ask = {"prompt": f"a house with number {number}", "model": OTHER, "n": 4, "quality": 0, "response_format": "url"}
            made = call(f"{house.api}/generate", "POST", ask)
            for image in range(4):
                if (number + image) % 2:
                    call(f"{house.api}/generations/{made['id']}/feedback", "POST", {"accepted": True, "image": image})
        page.until(lambda: page.all(".fit"), "the windows are compared without a reload")
        sample = next(one for one in call(f"{house.api}/studio/api/drift")["samples"] if one["model"] == OTHER)
        self.assertGreaterEqual(min(sample["accepted"], sample["new"]), 8)
        row = page.run("return [...document.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent))")
        self.assertEqual([cells[0] for cells in row], ["all models", OTHER])
        self.assertEqual(row[1][4:6], [str(sample["accepted"]), str(sample["new"])])
        self.assertIn("Few pictures.", page.text(".warning"))
        label = page.run("return document.querySelector('.plot').getAttribute('aria-label')")
        self.assertIn("Distances of new pictures from accepted ones: all models", label)
        self.assertEqual(page.complaints(), [])

    def test_4_axe_finds_nothing_serious(self):
        for size, dark in ((DESK, False), (DESK, True), (PHONE, False)):
            with self.subTest(size=size, dark=dark), Browser(self.house.api, size, dark) as page:
                page.open("drift")
                page.until(lambda: page.all(".trio img") and page.all(".fit"), "all is drawn")
                self.assertEqual(page.faults(), [])
                wide = page.run("return document.documentElement.scrollWidth - innerWidth")
                self.assertLessEqual(wide, 0, "nothing hangs out of the window")


class Unnamed(unittest.TestCase):
    """Nothing is audited and no encoder is named: the page says how."""

    def test_the_page_says_how_to_begin(self):
        with House() as house, Browser(house.api) as page:
            page.open("drift")
            page.one(".how")
            self.assertIn("audit.hours = 24", page.text(".watched"))
            self.assertIn("encoder = ", page.text(".how pre"))
            self.assertEqual(page.faults(), [])
            self.assertEqual(page.complaints(), [])


if __name__ == "__main__":
    unittest.main()
