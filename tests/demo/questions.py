"""Questions that people ask, with the modules and the names that answer them. One gets no good answer yet."""

from __future__ import annotations

QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "how do I parse a csv file with a header?": (("csv",), ("csv.DictReader",)),
    "retry with exponential backoff": (("logging.handlers",), ("logging.handlers.SocketHandler.createSocket",)),
    "walk a directory tree": (("os",), ("os.walk",)),
    "difference between two dates in days": (
        ("datetime",),
        ("datetime.date.__sub__", "datetime.timedelta", "datetime.timedelta.days"),
    ),
    "create a temporary directory that is deleted afterwards": (("tempfile",), ("tempfile.TemporaryDirectory",)),
    "count the most common elements of a list": (
        ("collections",),
        ("collections.Counter", "collections.Counter.most_common"),
    ),
    "cache the results of a function": (("functools",), ("functools.lru_cache", "functools.cache")),
    "run a shell command and capture its output": (
        ("subprocess",),
        ("subprocess.run", "subprocess.check_output", "subprocess.getoutput"),
    ),
    "parse command line arguments": (
        ("argparse", "optparse", "getopt"),
        ("argparse.ArgumentParser", "argparse.ArgumentParser.parse_args"),
    ),
    "convert a python object to a json string": (("json",), ("json.dumps", "json.dump")),
    "generate a cryptographically secure random token": (
        ("secrets",),
        ("secrets.token_hex", "secrets.token_bytes", "secrets.token_urlsafe"),
    ),
    "median of a list of numbers": (("statistics",), ("statistics.median",)),
    "replace text with a regular expression": (("re",), ("re.sub",)),
    "all permutations of a list": (("itertools",), ("itertools.permutations",)),
    "download a file from a url": (("urllib.request",), ("urllib.request.urlretrieve", "urllib.request.urlopen")),
    "run functions in parallel with a thread pool": (
        ("concurrent.futures", "multiprocessing.pool", "concurrent.futures.thread"),
        ("concurrent.futures.ThreadPoolExecutor",),
    ),
    "wrap a long text to a width of 70 columns": (("textwrap",), ("textwrap.wrap", "textwrap.fill")),
    "extract a zip archive": (
        ("zipfile", "shutil"),
        ("zipfile.ZipFile.extractall", "zipfile.ZipFile.extract", "shutil.unpack_archive"),
    ),
    "keep a list sorted while inserting": (("bisect",), ("bisect.insort", "bisect.insort_right")),
    "n largest items of a list": (("heapq",), ("heapq.nlargest",)),
    "copy a directory recursively": (("shutil",), ("shutil.copytree",)),
    "group items by a key": (("itertools",), ("itertools.groupby",)),
    "pretty print a nested dictionary": (("pprint",), ("pprint.pprint", "pprint.pp", "pprint.pformat")),
    "send an email over smtp": (("smtplib",), ("smtplib.SMTP", "smtplib.SMTP.sendmail", "smtplib.SMTP.send_message")),
    "run coroutines concurrently and gather the results": (("asyncio",), ("asyncio.gather",)),
    "parse an xml document": (
        ("xml.etree.ElementTree", "xml.dom.minidom", "xml.sax"),
        (
            "xml.etree.ElementTree.parse",
            "xml.etree.ElementTree.XML",
            "xml.etree.ElementTree.fromstring",
            "xml.dom.minidom.parse",
        ),
    ),
    "compare two texts line by line and show the differences": (
        ("difflib",),
        ("difflib.unified_diff", "difflib.ndiff", "difflib.context_diff", "difflib.Differ", "difflib.Differ.compare"),
    ),
    "measure the execution time of a small piece of code": (
        ("timeit",),
        ("timeit.timeit", "timeit.Timer", "timeit.Timer.timeit"),
    ),
    "check whether an ip address belongs to a network": (
        ("ipaddress",),
        ("ipaddress.IPv4Network", "ipaddress.ip_network", "ipaddress.ip_address"),
    ),
    "encode bytes as base64": (("base64",), ("base64.b64encode",)),
    "parse a date string in iso format": (
        ("datetime",),
        ("datetime.date.fromisoformat", "datetime.datetime.fromisoformat"),
    ),
    "split a shell command string into arguments": (("shlex",), ("shlex.split",)),
    "find all files matching a wildcard pattern": (
        ("glob", "pathlib", "fnmatch"),
        ("glob.glob", "pathlib.Path.glob", "glob.iglob"),
    ),
}
