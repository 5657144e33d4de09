"""One licence everywhere: in each package of the repository and in the texts at the top level."""

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOLDER = "The Airlay event service's authors"


def test_every_package_names_the_same_licence():
    manifests = ["Cargo.toml", "fuzz/Cargo.toml", "benches/load/Cargo.toml"]
    named = {path: tomllib.loads((ROOT / path).read_text())["package"]["license"] for path in manifests}
    named["js"] = json.loads((ROOT / "clients/js/package.json").read_text())["license"]
    named["python"] = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]["license"]
    # A list in Composer's schema is a choice.
    named["php"] = " OR ".join(json.loads((ROOT / "clients/php/composer.json").read_text())["license"])
    assert set(named.values()) == {"MIT OR Apache-2.0"}, named


def test_the_texts_are_the_standard_ones():
    assert (ROOT / "LICENSE-APACHE").read_text() == Path("/usr/share/common-licenses/Apache-2.0").read_text()
    title, _, holder, _, *text = (ROOT / "LICENSE-MIT").read_text().splitlines()
    assert title == "MIT License" and holder.endswith(HOLDER)
    # In the Debian package, a space continues a field and a dot is an empty line.
    copyright = (ROOT / "deploy/debian/copyright").read_text()
    assert "License: MIT\n" + "".join(f" {line or '.'}\n" for line in text) in copyright
    assert f"Copyright: {holder.split(' ', 2)[2]}\nLicense: MIT or Apache-2.0\n" in copyright
