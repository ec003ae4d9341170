"""A design team's script: `requests`, four threads, no timeouts and no retries of its own, on a bad day."""

import base64
import decimal
import unittest
from concurrent.futures import ThreadPoolExecutor

import requests

import png
from house import House

PROMPTS = [
    "a lighthouse on a basalt cliff, wide shot, grey morning",
    "an abandoned tram depot overgrown with ferns",
    "a floating market on a canal at dusk, paper lanterns",
    "a stone bridge over a gorge, seen from below",
    "a greenhouse on Mars, condensation on the glass",
    "a fishing village on stilts, low tide",
    "a library inside a hollow tree",
    "a desert outpost with solar sails",
    "a night train crossing a frozen lake",
    "a clock tower with its gears laid bare",
    "a herb garden seen from directly above",
    "a wooden airship moored to a windmill",
    'a shop sign that says "OPEN LATE"',
    'a concert poster with the words "NORTH WIND"',
    'a tea tin label, lettering "First Flush"',
    'a road sign that reads "Last petrol for 90 km"',
    'an enamel mug with the text "Slow Monday"',
    "a wordmark for a bicycle repair shop",
    "a character sheet of a courier with a mechanical arm",
    "a villain in a raincoat, full body, neutral pose",
    "an npc blacksmith with burn scars, turnaround",
    "a mascot for a pottery studio: a sleepy badger",
    "a protagonist in a patched flight suit, three facial expressions",
    "a portrait of an old cartographer at her desk",
    "a dashboard for a tidal power plant, dark theme",
    "a mobile app for sharing garden surplus, login screen",
    "a game menu over a misty valley",
    "a settings screen for a synthesiser",
    "a wireframe of a museum's ticket page",
    "a hud for a deep-sea submersible",
    "a product photo of a ceramic kettle on linen",
    "a street photo of umbrellas at a crossing, 35mm",
    "a macro shot of frost on a spider's web",
    "a headshot of a baker, flour on his cheek, 85mm",
    "a long exposure of a pier at night",
    "a photograph of a workshop window with dust in the light",
    "an orchard in the fog, muted greens",
    "a pile of mismatched keys on velvet",
    "a canyon with a rope ladder, storm coming",
    "a small harbour seen through a porthole",
]

# Every fault strikes before the work is done and billed. Ideogram is well.
BAD_DAY = [
    {"provider": "openai", "status": 429, "ratio": 0.3},
    {"provider": "openai", "status": 503, "ratio": 0.3},
    {"provider": "openai", "status": 500, "ratio": 0.1},
    {"provider": "stability", "status": 429, "ratio": 0.3},
    {"provider": "stability", "status": 503, "ratio": 0.3},
    {"provider": "google", "status": 429, "ratio": 0.1},
    {"provider": "google", "status": 500, "ratio": 0.15},
]


class BadDay(unittest.TestCase):
    def test_every_picture_comes_and_the_bill_is_right_to_the_micro_dollar(self):
        with House() as house:
            house.faults(BAD_DAY)
            session = requests.Session()

            def generate(prompt):
                body = {"prompt": prompt, "w": 512, "h": 512}
                answer = session.post(f"{house.api}/generate", json=body)
                self.assertEqual(answer.status_code, 200, f"{prompt}: {answer.text}")
                return answer.json(parse_float=decimal.Decimal)

            with ThreadPoolExecutor(4) as threads:
                answers = list(threads.map(generate, PROMPTS))
            bill = house.bill()

        for prompt, answer in zip(PROMPTS, answers, strict=True):
            (image,) = answer["images"]
            self.assertEqual(png.size(base64.b64decode(image["b64_json"])), (512, 512), prompt)
            for attempt in answer["cost"]["attempts"]:
                self.assertTrue(attempt["usd"] == 0 or attempt["billed"] == "yes", attempt)
        self.assertEqual(len({answer["images"][0]["sha256"] for answer in answers}), len(PROMPTS), "each has its own")
        failed = [line["status"] for line in bill if line["status"] >= 400]
        self.assertIn(429, failed, "the day was bad")
        self.assertTrue({500, 503} & set(failed), "the day was bad")
        told = sum(micro_usd(answer["cost"]["usd"]) for answer in answers)
        self.assertEqual(told, sum(line["billed_micro_usd"] for line in bill), "what was told is what was charged")
        self.assertGreater(told, 0)


def micro_usd(usd):
    micros = usd * 1_000_000
    assert micros == int(micros), f"{usd} is no whole number of micro-dollars"
    return int(micros)


if __name__ == "__main__":
    unittest.main()
