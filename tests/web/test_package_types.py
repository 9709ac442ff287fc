"""The types of the npm package: those of the modules as they are now, right for good pages and wrong for bad ones."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import attrs
import pytest
from _processes import PATIENCE
from web.packed import PACKAGES, WEB, installed, program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)  # the compiler takes seconds of CPU, and the machine may be busy

PAGES: list[tuple[str, str, str]] = [
    # A name, a module, and the error that its last line must have; none if it is right.
    (
        "every import",
        "import 'greenroom-client'; import 'greenroom-client/store';",
        "",
    ),
    ("no such import", "export * from 'greenroom-client/angular';", "TS2307"),
    (
        "options",
        "connect(url, { session: 's', token: async () => 't', from: 'latest' });",
        "",
    ),
    ("no session", "connect(url, {});", "TS2345"),
    ("wrong from", "connect(url, { session: 's', from: 'newest' });", "TS2322"),
    ("wrong token", "connect(url, { session: 's', token: 7 });", "TS2322"),
    ("start", "const id: string = await client.start('a', { deep: [1, null] }, { commandId: 'k' });", ""),
    ("no await", "const id: string = client.start('a', 1);", "TS2322"),
    ("no such call", "client.stop('r1');", "TS2339"),
    ("iterator", "for await (const each of client) if (each.type === 'agent_output') each.data.text.trim();", ""),
    ("reset", "for await (const each of client) if (each.type === 'reset') each.reason.trim();", ""),
    ("text of any", "for await (const each of client) if (each.type !== 'reset') each.data.text;", "TS2339"),
    ("listener", "client.addEventListener('state', ({ detail }) => detail.state === 'live');", ""),
    ("wrong state", "client.addEventListener('state', ({ detail }) => detail.state === 'open');", "TS2367"),
    ("status", "if (event.type === 'tool_completed' && event.data.status === 'timeout') event.call_id.trim();", ""),
    ("wrong status", "if (event.type === 'tool_completed') event.data.status === 'failed';", "TS2367"),
    ("error", "if (event.type === 'agent_completed' && event.data.error) event.data.error.code.trim();", ""),
    ("wrong field", "if (event.type === 'tool_executing') event.data.args;", "TS2339"),
    ("no call", "if (event.type === 'agent_started') event.call_id.trim();", "TS18048"),
    ("wrong type", "if (event.type === 'tool_started') event;", "TS2367"),
    ("reduce", "const next: Snapshot = reduce(EMPTY, event); next.runs[0].items.at(-1)?.kind === 'tool';", ""),
    ("wrong snapshot", "reduce({ runs: [] }, event);", "TS2345"),
    ("item", "for (const item of EMPTY.runs[0].items) if (item.kind === 'question') item.prompt.trim();", ""),
    ("item of any", "for (const item of EMPTY.runs[0].items) item.prompt;", "TS2339"),
    ("store", "sessionStore(url, options).subscribe(({ typing }) => typing[0].by.trim());", ""),
    ("shared", "sharedStore(url, { session: 's', linger: 0 }).getSnapshot().seq.toFixed();", ""),
    ("wrong linger", "sharedStore(url, { session: 's', linger: 'long' });", "TS2322"),
    ("hook", "const [{ runs }, { start }] = useReact(url, options); start('a', runs[0].id);", ""),
    ("selection", "const [n] = useReact(url, options, ({ runs }) => runs.length); n.toFixed();", ""),
    (
        "wrong selection",
        "const [n] = useReact(url, options, ({ runs }) => runs.length); n.trim();",
        "TS2339",
    ),
    ("component", "export const View = () => <p>{useReact(url, options)[0].connection.state}</p>;", ""),
    (
        "composable",
        "const { snapshot, session } = useVue(url, () => (options)); snapshot.value.runs;",
        "",
    ),
    ("no value", "const { snapshot } = useVue(url, options); snapshot.runs;", "TS2339"),
    ("svelte", "const store: Readable<Snapshot> = greenroom(url, options);", ""),
    (
        "runner",
        "new GreenroomAgentRunner({ url, retryMs: [1] }).connect({ threadId: 't' }).subscribe().unsubscribe();",
        "",
    ),
    ("runner without a server", "new GreenroomAgentRunner({});", "TS2345"),
]
PREAMBLE = """
import { connect, type Event } from "greenroom-client";
import { EMPTY, reduce, sessionStore, type Snapshot } from "greenroom-client/store";
import { sharedStore } from "greenroom-client/shared";
import { useGreenroom as useReact } from "greenroom-client/react";
import { useGreenroom as useVue } from "greenroom-client/vue";
import { greenroom } from "greenroom-client/svelte";
import { GreenroomAgentRunner } from "greenroom-client/copilotkit";
import type { Readable } from "svelte/store";

const url = "ws://x/";
const options = { session: "s" };
declare const event: Event;
declare const client: ReturnType<typeof connect>;
"""


@attrs.frozen
class Compiled:
    """The results of the compiler: its errors, and the types that it made of the modules."""

    errors: dict[str, list[str]]
    """Codes of the errors, by file."""
    types: Path
    output: str


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compile the modules and the pages in one run: most of its time is for the types of browsers, React and Vue."""
    folder = installed(tmp_path_factory, "pages")
    for number, (_, text, _) in enumerate(PAGES):
        (folder / f"page{number}.tsx").write_text(f"{PREAMBLE}{text}\nexport {{}};\n")
    own = json.loads((WEB / "tsconfig.json").read_text())
    frameworks = {
        name: [str(PACKAGES / place.partition("node_modules/")[2]) for place in places]
        for name, places in own["compilerOptions"]["paths"].items()
    }  # the modules may be those of an installed wheel, far from the packages
    config = {
        "extends": str(WEB / "tsconfig.json"),
        "compilerOptions": {
            "paths": frameworks,
            "rootDir": "/",
            "outDir": "out",
            "noEmitOnError": False,
            "jsx": "react-jsx",
        },
        "files": [*(str(WEB / name) for name in own["files"]), *(f"page{number}.tsx" for number in range(len(PAGES)))],
    }
    (folder / "tsconfig.json").write_text(json.dumps(config))
    run = subprocess.run(
        [program("tsc"), "--pretty", "false"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 2,
    )
    errors: dict[str, list[str]] = {}
    for place, code in re.findall(r"^(\S+)\(\d+,\d+\): error (TS\d+):", run.stdout, re.MULTILINE):
        errors.setdefault(place.rpartition("/")[2], []).append(code)
    return Compiled(errors, folder / "out" / WEB.relative_to("/"), run.stdout)


def test_shipped_types_are_current(compiled: Compiled) -> None:
    """The modules have no type errors. The shipped types are those of ``make declarations``."""
    assert [place for place in compiled.errors if not place.startswith("page")] == [], compiled.output
    made = {path.name: path.read_text() for path in compiled.types.iterdir()}
    shipped = {path.name: path.read_text() for path in (WEB / "types").iterdir()}
    assert shipped == made


def test_pages_with_types(compiled: Compiled) -> None:
    """``tsc --strict`` accepts each page that uses the package as it is meant, and refuses each other one."""
    told = {name: compiled.errors.get(f"page{number}.tsx", []) for number, (name, _, _) in enumerate(PAGES)}
    assert told == {name: [error] if error else [] for name, _, error in PAGES}, compiled.output
