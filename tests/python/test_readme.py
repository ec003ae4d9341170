"""What the README shows works as it stands there."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import unittest

import png
import readme
from house import BINARY, House, run


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(House())

    def shell(self, script, folder=None):
        path = f"{BINARY.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", readme.at(self.house, script)],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_curl_buys_a_picture(self):
        answer = json.loads(self.shell(readme.block("sh", "curl", "/generate")))
        self.assertEqual(answer["status"], "succeeded")
        self.assertEqual(answer["served"], "fresh")
        (image,) = answer["images"]
        self.assertEqual(png.size(base64.b64decode(image["b64_json"])), (512, 512))
        self.assertEqual((image["width"], image["height"]), (512, 512))

    def test_the_answer_has_the_fields_that_the_readme_shows(self):
        answer = json.loads(self.shell(readme.block("sh", "curl", "/generate")))
        shown = json.loads(readme.block("json", '"served"'))
        self.assertEqual(set(shown) - set(answer), set())
        self.assertEqual(shown["model"], answer["model"])
        self.assertEqual(shown["plan"]["steps"], answer["plan"]["steps"])
        self.assertEqual(shown["cost"]["usd"], answer["cost"]["usd"])

    def test_the_policy_is_accepted(self):
        example = readme.block("toml", "[[rule]]")
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "policy.toml")
            file.write_text(example)
            run("policy", "check", str(file))
        self.assertGreater(len(tomllib.loads(example)["model"]), 1)

    def test_the_plan_is_the_one_that_the_readme_shows(self):
        command, _, shown = readme.block("console", "tollgate explain").partition("\n")
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "studio.toml").write_text(readme.block("toml", "[[rule]]"))
            keys = "STABILITY_API_KEY=sk-demo IDEOGRAM_API_KEY=ideogram-demo "
            told = self.shell(keys + command.removeprefix("$ "), folder)
        self.assertEqual(squeezed(told), squeezed(shown))

    def test_the_batch_buys_nothing_twice(self):
        script = readme.block("sh", "tollgate batch")
        with tempfile.TemporaryDirectory() as folder:
            api = f" --url {self.house.api}"
            script = script.replace("tollgate batch", f"tollgate batch{api}")
            self.shell(script, folder)
            bought = len(self.house.bill())
            self.shell(script, folder)
            self.assertEqual(len(self.house.bill()), bought)
            manifest = pathlib.Path(folder, "out/manifest.jsonl").read_text().splitlines()
            pictures = list(pathlib.Path(folder, "out").glob("*.png"))
        self.assertGreaterEqual(len(manifest), len(pictures))
        self.assertGreater(len(pictures), 1)

    def test_the_sdk_example_runs(self):
        script = readme.at(self.house, readme.block("python", "OpenAI("))
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            pictures = [png.size(file.read_bytes()) for file in pathlib.Path(folder).glob("*.png")]
        self.assertEqual(pictures, [(1024, 1024), (1024, 1024)])

    def test_the_vendors_sdk_example_runs(self):
        script = readme.at(self.house, readme.block("python", "genai.Client("))
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(png.size(pathlib.Path(folder, "kettle.png").read_bytes()), (1024, 1024))


def squeezed(text):
    """Without the width of columns, which follows the terminal."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


if __name__ == "__main__":
    unittest.main()
