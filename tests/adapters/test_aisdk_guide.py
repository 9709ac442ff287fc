"""The component in the guide is valid, and uses the fields and routes that there are."""

from __future__ import annotations

import json
import re
import subprocess

from docs.documents import document
from web.node import HERE as WEB
from web.node import node_with_packages

from transport.adapters.aisdk.encoder import OWN_DATA
from transport.adapters.aisdk.routes import ROUTES

GUIDE = document("transport/adapters/aisdk/GUIDE.md")
TRANSFORM = """
import { transform } from 'esbuild';
import { readFileSync } from 'node:fs';
const { code } = await transform(readFileSync(0, 'utf8'), { loader: 'jsx', jsx: 'automatic' });
console.log(JSON.stringify({ lines: code.split('\\n').length }));
"""


def test_component_compiles() -> None:
    """esbuild compiles the component of the guide."""
    (block,) = (block for block in GUIDE.blocks if block.language == "jsx")
    done = subprocess.run(
        [node_with_packages(), "--input-type=module", "-e", TRANSFORM],
        input=block.text,
        cwd=WEB,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["lines"] > 10


def test_routes_and_parts_are_those_of_the_code() -> None:
    """The guide has every route, with its method, and every data part that the encoder makes."""
    rows = [re.findall(r"`(\w+) (/[^`]*)`", row[0])[0] for row in GUIDE.table("The routes")]
    assert rows == [(method, path) for path, (method, _) in ROUTES.items()]
    named = set(re.findall(r"`(data-[a-z-]+)`", GUIDE.section("What becomes what")))
    assert named == OWN_DATA
