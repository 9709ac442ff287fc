"""Attacks of an example on the server: the example gets nothing of the server, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import socket
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from demo.attacking import attack, has_other_user, run_script

from transport.demo import sandboxed
from transport.demo.library import Library
from transport.demo.sandbox import SCRIPT, run

if TYPE_CHECKING:
    from collections.abc import Callable

    Attack = Callable[[str], tuple[str, int]]

LIBRARY = "import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True)\n"
SHOW = (
    "def show(name, *arguments):\n"
    "    ctypes.set_errno(0)\n"
    "    result = getattr(c, name)(*arguments)\n"
    "    print(name, 'ok' if result != -1 else os.strerror(ctypes.get_errno()))\n"
)
CALL_OF_32_BITS = (
    "import ctypes, mmap\nmemory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
    "memory.write(bytes.fromhex('b814000000cd80c3'))\n"  # mov eax, 20 (getpid); int 0x80; ret
    "print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))())"
)


@pytest.fixture(params=["server", "user"] if has_other_user() else ["server"])
def attacked(request: pytest.FixtureRequest) -> Attack:
    """Return the function that runs code in the sandbox of a server of this user, and in one of an ordinary user."""
    return partial(attack, other=request.param == "user")


async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an example contains none of the server's variables.

    The example cannot read the environment of its parent processes either.
    """
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = (
        "import os\nprint(sorted(os.environ))\n"
        "for process in ('self', 'thread-self', 1, os.getpid(), os.getppid()):\n"
        "    try: print(open(f'/proc/{process}/environ').read())\n"
        "    except FileNotFoundError: pass"
    )
    assert (await run(code)).output == "['HOME', 'LC_ALL', 'MALLOC_ARENA_MAX', 'TMPDIR']"


def test_files(attacked: Attack, tmp_path: Path) -> None:
    """An example cannot open any file of the server: not by its path, not through a link, not by a path with ``..``."""
    (tmp_path / "demo.key").write_text("secret")
    secrets = [
        tmp_path / "demo.key",
        Library().path.parent,
        Path.home() / ".bashrc",
        Path.home() / ".ssh",
        SCRIPT,
        Path("/etc/shadow"),
        Path("/etc/hostname"),
        Path("/proc/1/root"),
        Path("/proc/self/status"),
        Path("/sys/kernel"),
        Path("/run"),
        Path("/var"),
        Path("/outside"),
        Path("/dev/mem"),
    ]
    code = (
        f"import os\nfor number, path in enumerate({[str(path) for path in secrets]!r}):\n"
        "    os.symlink(path, str(number)); os.symlink('../' * 20 + path, f'up{number}')\n"
        "    ways = (path, str(number), f'up{number}', '../' * 20 + path, f'/etc/../..{path}', f'/proc/1/root{path}')\n"
        "    for way in ways:\n"
        "        try: print(way, os.open(way, os.O_RDONLY))\n"
        "        except FileNotFoundError: pass\n"
        "print(os.path.samefile('/', '/..'))"
    )
    assert attacked(code) == ("True", 0)


def test_accounts(attacked: Attack) -> None:
    """An example finds only its own user and group in the lists of accounts, and no account of the machine."""
    assert attacked("import pwd, grp; print(len(pwd.getpwall()), pwd.getpwall()[0].pw_name, len(grp.getgrall()))") == (
        "1 example 1",
        0,
    )


def test_packages(attacked: Attack) -> None:
    """An example can neither import nor read the packages that are installed for the server."""
    code = (
        "import os, site\nprint([os.listdir(path) for path in site.getsitepackages() if os.path.isdir(path)])\n"
        "for name in ('trio', 'attrs', 'transport', 'pip'):\n"
        "    try: print(__import__(name))\n"
        "    except ImportError: pass"
    )
    output, status = attacked(code)
    assert set(output) <= set("[], ")
    assert status == 0


def test_read_only(attacked: Attack) -> None:
    """An example cannot change Python's files or the system's libraries, even if the server's user owns them."""
    code = """
import os, sys
shown = [os.__file__, sys.executable, "/lib64", "/etc/ld.so.cache", "/dev/null"]
print([path for path in shown if os.path.exists(path) and not os.statvfs(path).f_flag & os.ST_RDONLY])
file = os.__file__
for change in (lambda: open(file, "r+"), lambda: os.unlink(file), lambda: open(file + ".new", "w")):
    try:
        print(change())
    except OSError:
        pass
"""
    assert attacked(code) == ("[]", 0)


def test_shared_memory(attacked: Attack) -> None:
    """An example cannot attach shared memory of the server, even if it knows the number and all users may attach it."""
    library = ctypes.CDLL(None, use_errno=True)
    segment = library.shmget(0, 4096, 0o1666)
    try:
        output, _ = attacked(f"{LIBRARY}{SHOW}show('shmat', {segment}, None, 0)")
    finally:
        library.shmctl(segment, 0, None)
    assert segment != -1
    assert output == "shmat Invalid argument"


def test_descriptors(attacked: Attack) -> None:
    """An example has only the open files 0, 1 and 2. Its standard input is empty.

    Its standard output and its standard error go to the output of the example.
    """
    code = (
        "import os\nfound = []\nfor number in range(64):\n"
        "    try: found.append(os.fstat(number).st_ino and number)\n"
        "    except OSError: pass\n"
        "print(found, os.read(0, 1), os.fstat(0).st_rdev == os.stat('/dev/null').st_rdev)"
    )
    assert attacked(code) == ("[0, 1, 2] b'' True", 0)


def test_processes(attacked: Attack) -> None:
    """An example sees only its own two processes, and can send signals to no other process.

    It cannot stop the first process of its sandbox either.
    """
    code = (
        "import os, signal\ndef there(number):\n"
        "    try: os.kill(number, 0)\n"
        "    except ProcessLookupError: return False\n"
        "    return True\n"
        f"print([number for number in [*range(1, 5000), {os.getpid()}, {os.getppid()}] if there(number)])\n"
        "for number in (signal.SIGKILL, signal.SIGSTOP): os.kill(1, number)\n"
        "print(os.getppid(), there(-1))"
    )
    assert attacked(code) == ("[1, 2]\n1 False", 0)


def test_own_group(attacked: Attack) -> None:
    """If an example kills its own process group, only the example ends.

    The processes outside of the sandbox continue, and report the end of the example.
    """
    assert attacked("import os, signal\nos.kill(0, signal.SIGKILL)") == ("", 1)


def test_first_process_is_closed(attacked: Attack) -> None:
    """An example cannot read the memory of process 1 of its sandbox. Process 1 is the process that ends the example."""
    code = "b = ctypes.create_string_buffer(8); v = (ctypes.c_void_p * 2)(ctypes.addressof(b), 8)\n"
    output, _ = attacked(LIBRARY + SHOW + code + "show('process_vm_readv', 1, v, 1, v, 1, 0)")
    assert output == "process_vm_readv Operation not permitted"


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "unix"])
def test_servers_ports(attacked: Attack, family: str) -> None:
    """An example reaches no port of the server: not on the loopback address, and no abstract Unix socket."""
    addresses: dict[str, tuple[socket.AddressFamily, tuple[str, int] | str]] = {
        "ipv4": (socket.AF_INET, ("127.0.0.1", 0)),
        "ipv6": (socket.AF_INET6, ("::1", 0)),
        "unix": (socket.AF_UNIX, f"\0greenroom-{uuid.uuid4()}"),
    }
    kind, address = addresses[family]
    with socket.socket(kind, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen()
        with socket.socket(kind, socket.SOCK_STREAM) as own:
            own.connect(server.getsockname())
        output, status = attacked(f"import socket\nsocket.socket({kind:d}, 1).connect({server.getsockname()!r})")
    assert output.endswith("ConnectionRefusedError: [Errno 111] Connection refused")
    assert status == 1


def test_network(attacked: Attack) -> None:
    """An example has its own loopback network and no other: it can reach no other address, and resolve no host name."""
    code = """
import socket
with socket.create_server(("localhost", 0)) as server, socket.create_connection(server.getsockname()) as client:
    print("own")
for address in ("192.0.2.1", "169.254.169.254", "10.0.0.1"):
    try:
        socket.create_connection((address, 80), timeout=1)
    except OSError as error:
        print(error.strerror)
try:
    socket.getaddrinfo("example.org", 80)
except OSError as error:
    print("unknown")
"""
    assert attacked(code) == ("own\n" + 3 * "Network is unreachable\n" + "unknown", 0)


@pytest.mark.parametrize("family", [16, 17, 38, 40], ids=["netlink", "packet", "alg", "vsock"])
def test_other_sockets(attacked: Attack, family: int) -> None:
    """An example cannot open a socket to the kernel (netlink, packet, alg) or to a virtual machine's host (vsock)."""
    assert attacked(f"{LIBRARY}{SHOW}show('socket', {family}, 3, 0)")[0] == "socket Operation not permitted"


ESCAPES = (
    "'unshare', 0x10000000",  # a new user namespace would give all rights within it
    "'unshare', 0x00020000",
    "'unshare', 0x40000000",
    "'mount', b'tmpfs', b'/home', b'tmpfs', 0, None",
    "'umount2', b'/lib64', 2",
    "'chroot', b'/home'",
    "'pivot_root', b'/home', b'/home'",
    "'setuid', 0",
    "'setgid', 0",
    "'sethostname', b'x', 1",
    "'mknod', b'/home/disk', 0o60666, 0x0700",
    "'ptrace', 16, 1, 0, 0",
)


@pytest.mark.parametrize("call", ESCAPES)
def test_escapes(attacked: Attack, call: str) -> None:
    """System calls that could leave the sandbox fail: they are not permitted, or there is no user root inside."""
    output, _ = attacked(f"{LIBRARY}{SHOW}show({call})")
    assert output.endswith((" Operation not permitted", "id Invalid argument"))


def test_other_namespaces(attacked: Attack) -> None:
    """An example cannot enter another namespace: it finds no namespace file of another process.

    The call ``setns`` for the first process of its own sandbox is not permitted.
    """
    code = "print(os.path.exists('/proc/1/ns'))\nshow('setns', os.pidfd_open(1), 0x20000000)"
    assert attacked(LIBRARY + SHOW + code)[0] == "False\nsetns Operation not permitted"


def test_refused_calls(attacked: Attack) -> None:
    """System calls that use kernel keys, memory without a limit, or inner parts of the kernel are not permitted."""
    calls = sandboxed.CALLS[sandboxed.MACHINE][2:]
    output, _ = attacked(f"{LIBRARY}{SHOW}for number in {calls}: show('syscall', number, 0, 0, 0, 0, 0, 0)")
    assert output.splitlines() == ["syscall Operation not permitted"] * len(calls)


def test_other_kinds_of_calls(attacked: Attack) -> None:
    """System calls in the x32 mode are refused. A system call in the 32-bit mode ends the example.

    In these modes the numbers mean other calls, so that a forbidden call could have an allowed number.
    """
    assert attacked(f"{LIBRARY}{SHOW}show('syscall', 0x40000000 + 39)")[0] == "syscall Operation not permitted"
    if sandboxed.MACHINE == "x86_64":
        assert attacked(CALL_OF_32_BITS) == ("", 1)


def test_setuid_program(attacked: Attack) -> None:
    """A program with the setuid bit gives no rights: its mount ignores the bit, and the process cannot gain rights."""
    code = (
        "import os, sys\nopen('p', 'w').close(); os.chmod('p', 0o4755)\n"
        "print(os.statvfs('p').f_flag & os.ST_NOSUID > 0, os.statvfs(sys.executable).f_flag & os.ST_NOSUID > 0)\n"
        "import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"  # PR_GET_NO_NEW_PRIVS
    )
    assert attacked(code) == ("True True\n1", 0)


def test_nobody(attacked: Attack) -> None:
    """An example is never root, has no group of the server, and does not learn the name of the machine."""
    output, _ = attacked(
        "import os; print(os.getuid() > 0, os.geteuid() > 0, 0 in os.getgroups(), os.uname().nodename)"
    )
    assert output == "True True False sandbox"


async def test_nothing_is_left() -> None:
    """Files that an example has made are gone after its end, in every folder.

    Neither the machine nor the next example can see these files.
    """
    name = f"left-{uuid.uuid4()}"
    folders = ("/", "/home", "/dev/shm", "/tmp", "/etc")  # noqa: S108 - nothing is written there
    there = f"[folder for folder in {folders!r} if os.path.exists(os.path.join(folder, {name!r}))]"
    code = (
        f"import os\nfor folder in {folders!r}:\n    try: open(os.path.join(folder, {name!r}), 'w').close()\n"
        f"    except OSError: pass\nprint({there})"
    )
    assert "/home" in (await run(code)).output
    assert (await run(f"import os; print({there}, os.listdir())")).output == "[] []"
    assert [folder for folder in folders if (Path(folder) / name).exists()] == []


def test_own_time() -> None:
    """The sandbox's script ends an example that takes too long, even if the server does nothing."""
    assert run_script(SCRIPT.read_text(), "import signal; signal.sigtimedwait([], 60)", seconds=1) == ("", 1)


def test_strict_umask() -> None:
    """The sandbox also works if the server has the strict umask 077, so that only its own user can read new files."""
    assert run_script(SCRIPT.read_text(), "print(open('/etc/hosts').read()[:3])", umask=0o077) == ("127", 0)
