"""Values to call things with, by the name of the parameter.

The library names its parameters well: ``iterable`` takes a list, ``pattern`` a regular expression. A key is a
parameter (``iterable``), or a parameter of a module (``csv:f``) or of one class or function (``csv.DictReader:f``)
where the name alone does not tell. What a call with them gives is never written here: it is run.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Sample:
    """An expression, and the lines that have to run before it: imports, or files that it needs."""

    expression: str
    before: tuple[str, ...] = ()


_PEOPLE = r"'name,age\nAda,36\nAlan,41\n'"
_TREE = ("import os", "os.makedirs('notes/old')", "_ = open('notes/a.txt', 'w').write('hello')")
_TREE_SAMPLE = Sample("'notes'", _TREE)
_FILE = Sample("'notes/a.txt'", _TREE)
_XML = Sample("'<list><item>tea</item><item>milk</item></list>'")
_DATE = "2024-02-29"
_ARGV = Sample("[sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True", ("import sys",))
_OLD_LINES = Sample(r"['tea\n', 'milk\n']")
_NEW_LINES = Sample(r"['tea\n', 'sugar\n', 'milk\n']")

SAMPLES: dict[str, Sample] = {
    "a": Sample("[1, 3, 5]"),
    "address": Sample("'192.168.0.7'"),
    "b": Sample("[2, 4]"),
    "base64:s": Sample("b'hello world'"),
    "bytes": Sample("b'hello world'"),
    "bisect:x": Sample("4"),
    "collections.namedtuple:typename": Sample("'Point'"),
    "collections.namedtuple:field_names": Sample("['x', 'y']"),
    "configparser:string": Sample(r"'[server]\nport = 8080\n'"),
    "copy:x": Sample("[[1, 2], [3, 4]]"),
    "csv:f": Sample(f"io.StringIO({_PEOPLE})", ("import io",)),
    "csv:iterable": Sample("['name,age', 'Ada,36']"),
    "data": Sample("[1, 2, 2, 3, 14]"),
    "date_string": Sample(f"'{_DATE}'"),
    "datetime.datetime.strptime:date_string": Sample("'29/02/2024 16:30'"),
    "datetime.datetime.strptime:format": Sample("'%d/%m/%Y %H:%M'"),
    "datetime:year": Sample("2024, 2, 29"),
    "day": Sample("29"),
    "days": Sample("10"),
    "difflib:a": _OLD_LINES,
    "difflib:b": _NEW_LINES,
    "difflib.get_close_matches:word": Sample("'appel'"),
    "difflib.get_close_matches:possibilities": Sample("['ape', 'apple', 'peach']"),
    "dst": Sample("'copy'"),
    "element": Sample("3"),
    "elements": Sample("['tea', 'milk', 'tea']"),
    "fractions.Fraction:numerator": Sample("'3/4'"),
    "func": Sample("max"),
    "functools.reduce:function": Sample("lambda x, y: x * y"),
    "function": Sample("max"),
    "glob:pathname": Sample("'**/*.txt', recursive=True", _TREE),
    "gzip.compress:data": Sample("b'hello ' * 100"),
    "gzip.decompress:data": Sample("gzip.compress(b'hello')", ("import gzip",)),
    "zlib:data": Sample("b'hello ' * 100"),
    "hashlib:string": Sample("b'hello world'"),
    "heapq:heap": Sample("[1, 3, 5]"),
    "hour": Sample("16"),
    "html:s": Sample("'<b>tea & milk</b>'"),
    "ipaddress.ip_network:address": Sample("'192.168.0.0/28'"),
    "ipaddress.IPv4Network:address": Sample("'192.168.0.0/28'"),
    "item": Sample("4"),
    "iterable": Sample("[3, 1, 2, 3]"),
    "itertools.groupby:iterable": Sample("'AAABBC'"),
    "itertools.permutations:iterable": Sample("'abc'"),
    "itertools.combinations:iterable": Sample("'abc'"),
    "itertools.accumulate:iterable": Sample("[1, 2, 3, 4]"),
    "itertools.pairwise:iterable": Sample("'abcd'"),
    "json:obj": Sample("{'name': 'Ada', 'languages': ['Python']}"),
    "json:s": Sample("""'{"name": "Ada", "languages": ["Python"]}'"""),
    "k": Sample("2"),
    "key": Sample("'name'"),
    "lst": Sample("[1, 2, 3]"),
    "math:x": Sample("16"),
    "math:y": Sample("2"),
    "math:seq": Sample("[0.1] * 10"),
    "minute": Sample("30"),
    "month": Sample("2"),
    "n": Sample("2"),
    "name": Sample("'tea'"),
    "names": Sample("['a.txt', 'b.py']"),
    "nbytes": Sample("16"),
    "network": Sample("'192.168.0.0/28'"),
    "obj": Sample("{'tea': [1, 2], 'milk': [3]}"),
    "object": Sample("{'tea': [1, 2], 'milk': [3]}"),
    "os.path:p": Sample("'notes/a.txt'"),
    "pat": Sample("'*.txt'"),
    "path": _FILE,
    "pathlib.Path:args": Sample("'notes'", _TREE),
    "pathlib.Path.glob:pattern": Sample("'*.txt'"),
    "pattern": Sample(r"r'\d+'"),
    "pickle:obj": Sample("{'tea': 2}"),
    "population": Sample("['tea', 'milk', 'sugar']"),
    "popenargs": _ARGV,
    "prompt": Sample("'> '"),
    "qs": Sample("'q=tea&size=2'"),
    "r": Sample("2"),
    "random.shuffle:x": Sample("[1, 2, 3, 4]"),
    "re.split:pattern": Sample("r'[,;] *'"),
    "re.split:string": Sample("'tea, milk; sugar'"),
    "repl": Sample("'#'"),
    "secs": Sample("0.1"),
    "seconds": Sample("0.1"),
    "seq": Sample("['tea', 'milk', 'sugar']"),
    "sequence": Sample("['tea', 'milk', 'sugar']"),
    "shlex.split:s": Sample("\"cp 'my file.txt' backup/\""),
    "shutil.make_archive:base_name": Sample("'backup'"),
    "shutil.make_archive:format": Sample("'zip', 'notes'", _TREE),
    "size": Sample("1024"),
    "split_command": Sample("['cp', 'my file.txt', 'backup/']"),
    "sqlite3.connect:database": Sample("':memory:'"),
    "src": _TREE_SAMPLE,
    "shutil.copy:src": _FILE,
    "shutil.copy2:src": _FILE,
    "shutil.copyfile:src": _FILE,
    "start": Sample("1"),
    "stmt": Sample("'sum(range(100))'"),
    "timeit.timeit:stmt": Sample("'sum(range(100))', number=1000"),
    "string": Sample("'room 12, floor 3'"),
    "subprocess.getoutput:cmd": Sample("'echo hello'"),
    "textwrap:text": Sample("'The quick brown fox jumped over the lazy dog', width=20"),
    "text": Sample("'The quick brown fox jumped over the lazy dog'"),
    "template": Sample("'Hello, $name'"),
    "tomllib:s": Sample(r"'port = 8080\nhosts = [\"a\", \"b\"]\n'"),
    "top": _TREE_SAMPLE,
    "unicodedata:form": Sample("'NFC'"),
    "url": Sample("'https://example.org/search?q=tea&page=2#top'"),
    "values": Sample("[1, 2, 3]"),
    "width": Sample("20"),
    "word": Sample("'tea'"),
    "xml.dom.minidom:string": _XML,
    "xml.etree.ElementTree:text": _XML,
    "xml.etree.ElementTree:source": Sample(f"io.StringIO({_XML.expression})", ("import io",)),
    "x": Sample("[1, 2, 3]"),
    "year": Sample("2024"),
    "zoneinfo.ZoneInfo:key": Sample("'UTC'"),
}

OTHER: dict[str, Sample] = {"year": Sample("2024, 1, 1"), "days": Sample("3"), "address": Sample("'192.168.0.9'")}
"""For the second operand, where the first one would be the same value."""

LITERALS: dict[str, str] = {
    "builtins.str": "'tea, milk, sugar'",
    "builtins.list": "[3, 1, 2]",
    "builtins.dict": "{'tea': 2, 'milk': 1}",
    "builtins.set": "{1, 2, 3}",
    "builtins.bytes": "b'tea'",
    "builtins.int": "42",
    "builtins.float": "2.5",
}
"""Classes whose values are written down rather than constructed."""


def sample(module: str, name: str, parameter: str) -> Sample | None:
    """Return the value for ``parameter`` of ``module.name``, by its most specific key; None where none is known."""
    owner = name.rpartition(".")[0]
    keys = (f"{module}.{name}:{parameter}", f"{module}.{owner}:{parameter}", f"{module}:{parameter}", parameter)
    return next((SAMPLES[key] for key in keys if key in SAMPLES), None)
