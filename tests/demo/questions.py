"""Questions that people ask about the standard library, with the names that answer them: any of the names will do."""

from __future__ import annotations

from typing import TypeAlias

Answers: TypeAlias = dict[str, tuple[str, ...]]

DETAILED: Answers = {
    "how do I parse a csv file with a header?": ("csv.DictReader",),
    "retry with exponential backoff": ("logging.handlers.SocketHandler.createSocket",),
    "walk a directory tree": ("os.walk",),
    "difference between two dates in days": (
        "datetime.date.__sub__",
        "datetime.timedelta",
        "datetime.timedelta.days",
    ),
    "create a temporary directory that is deleted afterwards": ("tempfile.TemporaryDirectory",),
    "count the most common elements of a list": ("collections.Counter", "collections.Counter.most_common"),
    "cache the results of a function": ("functools.lru_cache", "functools.cache"),
    "run a shell command and capture its output": (
        "subprocess.run",
        "subprocess.check_output",
        "subprocess.getoutput",
    ),
    "parse command line arguments": ("argparse.ArgumentParser", "argparse.ArgumentParser.parse_args"),
    "convert a python object to a json string": ("json.dumps", "json.dump"),
    "generate a cryptographically secure random token": (
        "secrets.token_hex",
        "secrets.token_bytes",
        "secrets.token_urlsafe",
    ),
    "median of a list of numbers": ("statistics.median",),
    "replace text with a regular expression": ("re.sub",),
    "all permutations of a list": ("itertools.permutations",),
    "download a file from a url": ("urllib.request.urlretrieve", "urllib.request.urlopen"),
    "run functions in parallel with a thread pool": ("concurrent.futures.ThreadPoolExecutor",),
    "wrap a long text to a width of 70 columns": ("textwrap.wrap", "textwrap.fill"),
    "extract a zip archive": (
        "zipfile.ZipFile",
        "zipfile.ZipFile.extractall",
        "zipfile.ZipFile.extract",
        "shutil.unpack_archive",
    ),
    "keep a list sorted while inserting": ("bisect.insort", "bisect.insort_right"),
    "n largest items of a list": ("heapq.nlargest",),
    "copy a directory recursively": ("shutil.copytree",),
    "group items by a key": ("itertools.groupby",),
    "pretty print a nested dictionary": ("pprint.pprint", "pprint.pp", "pprint.pformat"),
    "send an email over smtp": ("smtplib.SMTP", "smtplib.SMTP.sendmail", "smtplib.SMTP.send_message"),
    "run coroutines concurrently and gather the results": ("asyncio.gather",),
    "parse an xml document": (
        "xml.etree.ElementTree.parse",
        "xml.etree.ElementTree.XML",
        "xml.etree.ElementTree.fromstring",
        "xml.dom.minidom.parse",
    ),
    "compare two texts line by line and show the differences": (
        "difflib.unified_diff",
        "difflib.ndiff",
        "difflib.context_diff",
        "difflib.Differ",
        "difflib.Differ.compare",
    ),
    "measure the execution time of a small piece of code": ("timeit.timeit", "timeit.Timer", "timeit.Timer.timeit"),
    "check whether an ip address belongs to a network": (
        "ipaddress.IPv4Network",
        "ipaddress.ip_network",
        "ipaddress.ip_address",
    ),
    "encode bytes as base64": ("base64.b64encode",),
    "parse a date string in iso format": ("datetime.date.fromisoformat", "datetime.datetime.fromisoformat"),
    "split a shell command string into arguments": ("shlex.split",),
    "find all files matching a wildcard pattern": ("glob.glob", "pathlib.Path.glob", "glob.iglob"),
    "retry an http request with urllib and a timeout": ("urllib.request.urlopen",),
    "convert a string to a datetime": ("datetime.datetime.strptime", "datetime.datetime.fromisoformat"),
    "read a file line by line": ("builtins.open", "fileinput.input"),
    "sort a list of dicts by a key": ("builtins.sorted", "builtins.list.sort", "operator.itemgetter"),
    "run a command and capture its output": ("subprocess.run", "subprocess.check_output"),
}
"""Questions that describe a purpose in some detail, with the names that answer each question."""

SHORT: Answers = {
    "parse json": ("json.loads", "json.load"),
    "make a temporary file": ("tempfile.NamedTemporaryFile", "tempfile.TemporaryFile", "tempfile.mkstemp"),
    "count words in a list": ("collections.Counter",),
    "measure elapsed time": ("time.perf_counter", "time.monotonic", "timeit.timeit"),
    "unzip an archive": ("zipfile.ZipFile.extractall", "zipfile.ZipFile", "shutil.unpack_archive"),
    "send an email": ("smtplib.SMTP", "smtplib.SMTP.send_message", "smtplib.SMTP.sendmail"),
    "hash a password": ("hashlib.scrypt", "hashlib.pbkdf2_hmac"),
    "parse command line arguments": ("argparse.ArgumentParser", "argparse.ArgumentParser.parse_args"),
    "walk a directory tree": ("os.walk", "pathlib.Path.walk"),
    "copy a file": ("shutil.copy", "shutil.copyfile", "shutil.copy2"),
    "read a csv": ("csv.reader", "csv.DictReader"),
    "get an environment variable": ("os.getenv", "os.environ"),
    "random choice": ("random.choice", "random.choices"),
    "regular expression replace": ("re.sub",),
    "run things in parallel": ("concurrent.futures.ThreadPoolExecutor", "concurrent.futures.ProcessPoolExecutor"),
    "cache a function's results": ("functools.cache", "functools.lru_cache"),
    "pretty print": ("pprint.pprint", "pprint.pp"),
    "flatten nested lists": ("itertools.chain", "itertools.chain.from_iterable"),
    "compare two files": ("filecmp.cmp", "difflib.unified_diff", "difflib.ndiff"),
    "group items by key": ("itertools.groupby", "collections.defaultdict"),
    "merge two dicts": ("builtins.dict.update", "collections.ChainMap", "builtins.dict"),
    "format a date": ("datetime.datetime.strftime", "datetime.date.strftime", "time.strftime"),
    "difference between two dates": ("datetime.timedelta", "datetime.date.__sub__"),
    "encode base64": ("base64.b64encode",),
    "generate a uuid": ("uuid.uuid4", "uuid.uuid1"),
    "http server": ("http.server.HTTPServer", "http.server.SimpleHTTPRequestHandler", "http.server"),
    "queue between threads": ("queue.Queue",),
    "binary search": ("bisect.bisect_left", "bisect.bisect", "bisect.bisect_right", "bisect"),
    "deep copy": ("copy.deepcopy",),
    "log to a file": ("logging.basicConfig", "logging.FileHandler"),
}
"""Questions in the few words that a beginner types."""

UNANSWERABLE = (
    "bake a chocolate cake",
    "train a neural network",
    "what is the weather in Paris?",
    "translate German to English",
    "detect faces in a photo",
    "connect to a postgres database",
    "resize an image",
)
"""Questions that the standard library has no answer to."""
