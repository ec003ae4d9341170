"""The README's own code, so that what it promises is what is tested."""

import re

from house import ROOT

TEXT = (ROOT / "README.md").read_text()


def block(language, *words):
    """The one fenced block in `language` that holds all `words`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if all(word in block for word in words)]
    if len(found) != 1:
        raise AssertionError(f"the README has {len(found)} {language} blocks with {words}, not one")
    return found[0]


def at(house, text):
    """The text with the addresses of `house` in place of the default ones."""
    defaults = {
        "127.0.0.1:8080": house.api,
        "127.0.0.1:8081": house.admin,
        "127.0.0.1:8082": house.proxy,
        "127.0.0.1:9100": house.sandbox,
    }
    for default, address in defaults.items():
        text = text.replace(default, address.removeprefix("http://"))
    return text
