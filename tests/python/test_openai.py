"""The official OpenAI SDK with nothing changed but its `base_url`."""

import base64
import pathlib
import tempfile
import unittest

import openai
from openai import OpenAI

import png
from house import ROOT, House, run


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(House())
        cls.client = cls.enterClassContext(OpenAI(base_url=f"{cls.house.api}/v1", api_key="unused", max_retries=0))

    def generate(self, **fields):
        return self.client.images.generate(**{"model": "auto", "prompt": "a heron in the reeds", **fields})

    def test_two_pictures_of_the_asked_size(self):
        answer = self.generate(prompt="a brass telescope on a balcony", size="1024x1024", n=2)
        pictures = [base64.b64decode(image.b64_json) for image in answer.data]
        self.assertEqual([png.size(picture) for picture in pictures], [(1024, 1024)] * 2)
        self.assertNotEqual(*pictures)
        self.assertEqual(answer.size, "1024x1024")
        self.assertEqual(answer.tollgate["served"], "fresh")

    def test_the_fields_of_extra_body_are_honoured(self):
        extra = {"seed": 7, "task": "photo", "quality": "draft", "metadata": {"project": "sdk"}}
        answer = self.generate(prompt="a kettle on linen", size="512x512", extra_body=extra)
        self.assertEqual(answer.tollgate["task"], "photo")
        self.assertEqual(answer.tollgate["warnings"], [])
        self.assertGreaterEqual(answer.tollgate["plan"]["expected"]["accept"], 0.45)
        self.assertEqual(png.size(base64.b64decode(answer.data[0].b64_json)), (512, 512))
        again = self.generate(prompt="a kettle on linen", size="512x512", extra_body=extra)
        self.assertEqual(again.data[0].b64_json, answer.data[0].b64_json, "a seed makes the same picture again")
        self.assertEqual(self.house.bill()[-1]["model"], answer.tollgate["model"])

    def test_a_better_picture_costs_more(self):
        usd = {
            quality: self.generate(prompt="a fox in the snow", quality=quality).tollgate["cost"]["usd"]
            for quality in ("low", "high")
        }
        self.assertLess(usd["low"], usd["high"])

    def test_a_link_is_the_gateways_own(self):
        answer = self.generate(prompt="a tin robot", size="512x512", response_format="url")
        url = answer.data[0].url
        self.assertTrue(url.startswith(f"{self.house.api}/images/"), url)
        self.assertIsNone(answer.data[0].b64_json)
        picture = self.client.with_options(base_url=self.house.api).get(url, cast_to=openai.HttpxBinaryResponseContent)
        self.assertEqual(png.size(picture.content), (512, 512))

    def test_the_headers_of_the_raw_response(self):
        raw = self.client.images.with_raw_response.generate(model="auto", prompt="a paper boat", size="512x512")
        told = raw.parse().tollgate
        self.assertEqual(raw.headers["tollgate-model"], told["model"])
        self.assertEqual(float(raw.headers["tollgate-cost-usd"]), told["cost"]["usd"])
        self.assertEqual(raw.headers["tollgate-served"], "fresh")
        self.assertEqual(raw.headers["tollgate-policy"], told["policy"])
        self.assertIn("server-timing", raw.headers)
        self.assertTrue(raw.headers["x-request-id"])

    def test_a_pinned_model_is_used(self):
        answer = self.generate(prompt="a paper crane", model="stability/core", size="512x512")
        self.assertEqual(answer.tollgate["model"], "stability/core")

    def test_models_are_listed(self):
        models = {model.id: model for model in self.client.models.list()}
        self.assertIn("auto", models)
        self.assertEqual(models["stability/sd3.5-medium"].owned_by, "stability")
        self.assertEqual(self.client.models.retrieve("auto").id, "auto")

    def test_errors_are_of_the_right_class(self):
        before = len(self.house.bill())
        cases = [
            (openai.BadRequestError, "invalid_request", "/size", {"size": "12x12"}),
            (openai.BadRequestError, "invalid_request", "/n", {"n": 9}),
            (openai.NotFoundError, None, "model", {"model": "stability/sd9"}),
            (openai.UnprocessableEntityError, "no_plan", None, {"extra_body": {"max_cost_usd": 0.000001}}),
        ]
        for expected, code, param, fields in cases:
            with self.subTest(fields), self.assertRaises(expected) as caught:
                self.generate(**fields)
            error = caught.exception
            self.assertEqual(error.param, param)
            self.assertTrue(error.request_id)
            self.assertTrue(error.body["message"])
            if code:
                self.assertEqual(error.code, code)
        self.assertEqual(len(self.house.bill()), before, "nothing was bought")

    def test_providers_that_fail_are_a_server_error(self):
        down = [{"provider": name, "status": 503} for name in ("stability", "google", "ideogram", "openai")]
        self.house.faults(down)
        self.addCleanup(self.house.forget)
        with self.assertRaises(openai.InternalServerError) as caught:
            self.generate(prompt="a hat nobody sells", size="512x512")
        self.assertEqual(caught.exception.status_code, 502)
        self.assertEqual(caught.exception.code, "providers_failed")


class Keys(unittest.TestCase):
    def test_only_a_key_of_the_policy_lets_in(self):
        key, _, row = run("key", "new", "sdk-test").partition("\n\n")
        with tempfile.TemporaryDirectory() as folder:
            policy = pathlib.Path(folder, "policy.toml")
            policy.write_text((ROOT / "policies/default.toml").read_text() + "\n" + row)
            with House("--policy", str(policy)) as house:
                ask = {"model": "auto", "prompt": "a locked drawer", "size": "512x512"}
                with OpenAI(base_url=f"{house.api}/v1", api_key="wrong", max_retries=0) as stranger:
                    with self.assertRaises(openai.AuthenticationError):
                        stranger.images.generate(**ask)
                with OpenAI(base_url=f"{house.api}/v1", api_key=key, max_retries=0) as client:
                    self.assertEqual(len(client.images.generate(**ask).data), 1)
                self.assertTrue(house.bill())


if __name__ == "__main__":
    unittest.main()
