"""What one does with a thing whose call by itself shows nothing: a decorator, a pool, a parser that is to be told more.

Written by hand, run like every other example: what they print is never written here.
"""

from __future__ import annotations

_SQUARE = """def square(x):
    print('working')
    return x * x"""

USAGES: dict[str, tuple[str, ...]] = {
    "argparse.ArgumentParser": (
        "import argparse",
        "parser = argparse.ArgumentParser(prog='copy')",
        "_ = parser.add_argument('files', nargs='+')",
        "_ = parser.add_argument('--verbose', action='store_true')",
        "parser.parse_args(['--verbose', 'a.txt', 'b.txt'])",
    ),
    "asyncio.gather": (
        "import asyncio",
        "async def double(x):\n    await asyncio.sleep(0.1)\n    return 2 * x\n",
        "async def main():\n    return await asyncio.gather(double(1), double(2), double(3))\n",
        "asyncio.run(main())",
    ),
    "collections.defaultdict": (
        "from collections import defaultdict",
        "by_letter = defaultdict(list)",
        "for word in ['tea', 'toast', 'milk']:\n    by_letter[word[0]].append(word)\n",
        "dict(by_letter)",
    ),
    "concurrent.futures.ThreadPoolExecutor": (
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(max_workers=3) as pool:\n    print(list(pool.map(len, ['tea', 'milk', 'sugar'])))\n",
    ),
    "contextlib.contextmanager": (
        "from contextlib import contextmanager",
        "@contextmanager\ndef tag(name):\n    print(f'<{name}>')\n    yield\n    print(f'</{name}>')\n",
        "with tag('b'):\n    print('tea')\n",
    ),
    "dataclasses.dataclass": (
        "from dataclasses import dataclass",
        "@dataclass\nclass Point:\n    x: int\n    y: int = 0\n",
        "Point(3)",
    ),
    "datetime.timedelta": (
        "from datetime import date",
        "difference = date(2024, 3, 1) - date(2024, 2, 1)",
        "difference",
        "difference.days",
    ),
    "enum.Enum": (
        "from enum import Enum, auto",
        "class Size(Enum):\n    SMALL = auto()\n    LARGE = auto()\n",
        "list(Size)",
    ),
    "functools.cache": (
        "from functools import cache",
        f"@cache\n{_SQUARE}\n",
        "square(3)",
        "square(3) + 1",
        "square.cache_info()",
    ),
    "functools.lru_cache": (
        "from functools import lru_cache",
        f"@lru_cache(maxsize=128)\n{_SQUARE}\n",
        "square(3)",
        "square(3) + 1",
        "square.cache_info()",
    ),
    "ipaddress.ip_network": (
        "import ipaddress",
        "ipaddress.ip_address('192.168.0.7') in ipaddress.ip_network('192.168.0.0/28')",
    ),
    "itertools.groupby": (
        "from itertools import groupby",
        "words = sorted(['tea', 'milk', 'toast', 'mint'])",
        "[(letter, list(group)) for letter, group in groupby(words, key=lambda word: word[0])]",
    ),
    "json.JSONEncoder": ("import json", "json.JSONEncoder(indent=2).encode({'tea': [1, 2]})"),
    "pprint.PrettyPrinter": (
        "import pprint",
        "pprint.PrettyPrinter(width=20).pprint({'tea': {'green': 2, 'black': 3}, 'milk': 1})",
    ),
    "queue.Queue": ("import queue", "jobs = queue.Queue(maxsize=2)", "jobs.put('tea')", "jobs.get()"),
    "sqlite3.connect": (
        "import sqlite3",
        "database = sqlite3.connect(':memory:')",
        "_ = database.execute('CREATE TABLE drink (name TEXT, cups INTEGER)')",
        "_ = database.executemany('INSERT INTO drink VALUES (?, ?)', [('tea', 2), ('milk', 1)])",
        "list(database.execute('SELECT name FROM drink WHERE cups > ?', (1,)))",
    ),
    "string.Template": ("from string import Template", "Template('Hello, $name').substitute(name='Ada')"),
    "tempfile.NamedTemporaryFile": (
        "import tempfile",
        "with tempfile.NamedTemporaryFile('w+') as f:\n    _ = f.write('tea')\n    _ = f.seek(0)\n    f.read()\n",
    ),
    "tempfile.TemporaryDirectory": (
        "import os, tempfile",
        "with tempfile.TemporaryDirectory() as folder:\n    print(os.path.isdir(folder))\n",
        "os.path.isdir(folder)",
    ),
    "threading.Thread": (
        "import threading",
        "thread = threading.Thread(target=print, args=('tea',))",
        "thread.start()",
        "thread.join()",
    ),
    "timeit.Timer": ("import timeit", "timeit.Timer('sum(range(100))').timeit(number=1000) < 1"),
    "xml.etree.ElementTree.parse": (
        "import io",
        "from xml.etree.ElementTree import parse",
        "tree = parse(io.StringIO('<list><item>tea</item><item>milk</item></list>'))",
        "[item.text for item in tree.getroot()]",
    ),
    "zipfile.ZipFile": (
        "import os, zipfile",
        "with zipfile.ZipFile('box.zip', 'w') as box:\n    box.writestr('tea.txt', 'green')\n",
        "with zipfile.ZipFile('box.zip') as box:\n    box.extractall('out')\n",
        "os.listdir('out')",
    ),
}
