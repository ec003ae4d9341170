"""The official OpenAI SDK against a provider that stalls past the client's time-out: its own retries cost one image."""

import base64
import unittest

from openai import OpenAI

import png
from house import House

STALLED = ("stability", "google", "ideogram", "openai")


class Retries(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(House())

    def bought(self):
        return sum(call["billed_micro_usd"] > 0 for call in self.house.bill())

    def test_the_sdk_s_own_retries_cost_one_image(self):
        self.house.forget()
        self.addCleanup(self.house.forget)
        stall = {"stall_ms": 4000, "at": "headers", "times": 1}
        self.house.faults([{"provider": name, **stall} for name in STALLED])
        with OpenAI(base_url=f"{self.house.api}/v1", api_key="unused", max_retries=4, timeout=1.5) as client:
            raw = client.images.with_raw_response.generate(model="auto", prompt="a heron that waits", size="512x512")
        self.assertGreater(raw.retries_taken, 0)
        answer = raw.parse()
        self.assertEqual(png.size(base64.b64decode(answer.data[0].b64_json)), (512, 512))
        self.assertIn(answer.tollgate["served"], ("joined", "replayed"))
        print(f"1 ask, {raw.retries_taken} retries of the SDK: {self.bought()} bought")
        self.assertEqual(self.bought(), 1)

    def test_two_asks_of_one_prompt_are_two_images(self):
        self.house.forget()
        with OpenAI(base_url=f"{self.house.api}/v1", api_key="unused", max_retries=0) as client:
            two = [client.images.generate(model="auto", prompt="a heron that flies", size="512x512") for _ in range(2)]
        self.assertEqual([answer.tollgate["served"] for answer in two], ["fresh", "fresh"])
        self.assertEqual(self.bought(), 2)


if __name__ == "__main__":
    unittest.main()
