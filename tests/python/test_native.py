"""Vendors' own clients with nothing changed but their base URL: the native pass-through."""

import base64
import json
import pathlib
import tempfile
import time
import unittest

import openai
import requests
from google import genai
from google.genai import errors, types
from openai import OpenAI

import png
from house import PATIENCE, House, run

CORE = "v2beta/stable-image/generate/core"


class Vendors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.data = pathlib.Path(folder)
        cls.house = cls.enterClassContext(House("--data", folder))

    def setUp(self):
        self.house.forget()

    def booked(self, before):
        """Charged since `before`, in micro-dollars, once the books hold nothing that is under way."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            charged, open_ = self.spend()
            if open_ == 0 and charged - before == self.billed():
                break
            time.sleep(0.05)
        return charged - before

    def spend(self):
        rows = json.loads(run("--json", "ledger", "spend", "--by", "model", "--since", "1h", "--data", self.data))["rows"]
        charged = sum(round(row["settled_usd"] * 1_000_000) for row in rows)
        return charged, sum(round(row["ambiguous_usd"] * 1_000_000) for row in rows)

    def billed(self):
        return sum(call["billed_micro_usd"] for call in self.house.bill())

    def openai(self, base_url, key):
        return self.enterContext(OpenAI(base_url=base_url, api_key=key, max_retries=0))

    def test_openai(self):
        before, _ = self.spend()
        ask = {"model": "gpt-image-2", "prompt": "a brass telescope", "quality": "low", "size": "1024x1024"}
        passed = self.openai(f"{self.house.proxy}/openai/v1", "unused").images.generate(**ask)
        self.assertEqual(self.booked(before), self.billed())
        self.assertGreater(self.billed(), 0)
        direct = self.openai(f"{self.house.sandbox}/openai/v1", "sk-sandbox-openai").images.generate(**ask)
        self.assertEqual(passed.usage, direct.usage)
        self.assertEqual(passed.model_dump(exclude={"created", "data"}), direct.model_dump(exclude={"created", "data"}))
        # It has no seed, so two pictures differ; both are whole.
        for answer in (passed, direct):
            self.assertEqual(png.size(base64.b64decode(answer.data[0].b64_json)), (1024, 1024))

    def test_openai_lists_and_refuses_as_the_vendor_does(self):
        client = self.openai(f"{self.house.proxy}/openai/v1", "unused")
        direct = self.openai(f"{self.house.sandbox}/openai/v1", "sk-sandbox-openai")
        self.assertEqual([model.id for model in client.models.list()], [model.id for model in direct.models.list()])
        with self.assertRaises(openai.BadRequestError) as caught:
            client.images.generate(model="gpt-image-2", prompt="nsfw", size="1024x1024")
        self.assertEqual(caught.exception.code, "moderation_blocked")
        with self.assertRaises(openai.BadRequestError) as caught:
            client.images.generate(model="gpt-image-99", prompt="a fox", size="1024x1024")
        self.assertIn("no price for the model `gpt-image-99`", str(caught.exception))

    def test_google(self):
        before, _ = self.spend()
        config = types.GenerateContentConfig(response_modalities=["IMAGE"], seed=7)

        def picture(base_url, key):
            client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url))
            ask = {"model": "gemini-nano-banana-2.1", "contents": "a kettle on linen", "config": config}
            answer = client.models.generate_content(**ask)
            parts = answer.candidates[0].content.parts
            return next(part.inline_data.data for part in parts if part.inline_data), answer.usage_metadata

        passed = picture(f"{self.house.proxy}/google", "unused")
        self.assertEqual(self.booked(before), self.billed())
        self.assertGreater(self.billed(), 0)
        self.assertEqual(passed, picture(f"{self.house.sandbox}/google", "AIzaSandboxGoogle"))
        with self.assertRaises(errors.ClientError) as caught:
            client = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=f"{self.house.proxy}/google"))
            client.models.generate_content(model="gemini-of-tomorrow", contents="a fox")
        self.assertEqual(caught.exception.code, 400)

    def test_stability(self):
        before, _ = self.spend()

        def picture(base, key):
            fields = {"prompt": "a red bicycle", "seed": "7", "output_format": "png"}
            headers = {"authorization": f"Bearer {key}", "accept": "image/*"}
            url = f"{base}/stability/{CORE}"
            answer = requests.post(url, headers=headers, files={"none": ""}, data=fields, timeout=PATIENCE)
            self.assertEqual(answer.status_code, 200, answer.text[:500])
            return answer.content, answer.headers["finish-reason"], answer.headers["seed"]

        passed = picture(self.house.proxy, "unused")
        self.assertEqual(self.booked(before), self.billed())
        self.assertEqual(self.billed(), 30_000)
        self.assertEqual(passed, picture(self.house.sandbox, "sk-sandbox-stability"))

    def test_stability_enlarges_a_file(self):
        before, _ = self.spend()
        small = requests.post(
            f"{self.house.proxy}/stability/{CORE}",
            headers={"authorization": "Bearer unused", "accept": "application/json"},
            files={"none": ""},
            data={"prompt": "a small boat"},
            timeout=PATIENCE,
        ).json()
        answer = requests.post(
            f"{self.house.proxy}/stability/v2beta/stable-image/upscale/conservative",
            headers={"authorization": "Bearer unused", "accept": "image/*"},
            files={"image": ("boat.png", base64.b64decode(small["image"]), "image/png")},
            data={"prompt": "a small boat"},
            timeout=PATIENCE,
        )
        self.assertEqual(answer.status_code, 200, answer.text[:500])
        self.assertGreater(png.size(answer.content), (1536, 1536))
        self.assertEqual(self.booked(before), self.billed())
        self.assertEqual(self.billed(), 430_000)


if __name__ == "__main__":
    unittest.main()
