"""The script of ``run_example``: ``python -I -S sandboxed.py SECONDS BYTES``. It runs untrusted Python code.

It reads BYTES of code from its input, enters new namespaces of Linux (users, mounts, processes, network, IPC), gives up
its rights and runs the code as ``__main__``. Code that starts with ``>>>`` is a session: it is echoed, and the value of
an expression is printed, as at the prompt. The exit status is 0; 1 if the code failed; or ``NO_SANDBOX`` if the machine
lacks a part of the sandbox: then no code ran, and the output says why.

There are three processes. The first stays outside, and kills the second when its input ends: when the server closes it,
or has ended. The second is process 1 of its namespace: with it the kernel ends all that the code started. The third
runs the code.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

NO_SANDBOX = 3
# Limits of an example: bytes of address space of a process, bytes of a file and of all files, open files of a process,
# and the number of processes and threads. A Python takes 30 MiB of addresses, each of its threads 8 MiB for a stack.
MEMORY, FILE_SIZE, DISK, OPEN_FILES, PROCESSES = 128 << 20, 1 << 20, 8 << 20, 64, 16
UNPRIVILEGED, HOME = 65534, "/home"
PLACE = "/tmp"  # noqa: S108 - any folder that is on every system: nothing is written into it
MACHINE = os.uname().machine if sys.platform == "linux" else sys.platform
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
TEXTS = {
    "/etc/passwd": f"example:x:{UNPRIVILEGED}:{UNPRIVILEGED}::{HOME}:\n",
    "/etc/group": f"example:x:{UNPRIVILEGED}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
}
# Numbers from the headers of Linux: CLONE_NEW…, then MS_… and MNT_DETACH, MOUNT_ATTR_…, PR_SET_….
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, DETACH = 2, 4, 1 << 12, 1 << 14, 1 << 18, 2
MOUNT_SETATTR, AT_RECURSIVE, READ_ONLY, NO_SUID, NO_DEV = 442, 0x8000, 1, 2, 4
DEATH_SIGNAL, DUMPABLE, SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38
# For each machine: its number in seccomp filters, the number of socket, and the system calls that are refused. These
# reach what namespaces do not divide, such as keys, or memory that no limit counts: shmget, semget, msgget, ptrace,
# add_key, request_key, keyctl, perf_event_open, memfd_create, bpf, userfaultfd, io_uring_setup, memfd_secret.
CALLS = {
    "x86_64": (0xC000003E, 41, 29, 64, 68, 101, 248, 249, 250, 298, 319, 321, 323, 425, 447),
    "aarch64": (0xC00000B7, 198, 194, 190, 186, 117, 217, 218, 219, 241, 279, 280, 282, 425, 447),
}
FAMILIES = (1, 2, 10)  # of sockets: AF_UNIX, AF_INET, AF_INET6. AF_VSOCK would reach the host of a virtual machine


def main() -> int:
    """Run the code that is read from the input, and return the exit status."""
    seconds, size = map(int, sys.argv[1:])
    code = sys.stdin.buffer.read(size)
    try:
        _enter_namespaces()
        _build_root()
        first = os.fork()
        if first == 0:
            _give_up_rights(seconds)
    except (ImportError, AttributeError, OSError) as error:
        print(f"this machine offers no sandbox ({error})", flush=True)
        os._exit(NO_SANDBOX)
    if first:
        return _watch(first, seconds)
    child = os.fork()
    if child:
        os._exit(_reap(child))
    os.setsid()  # a signal to its own group would reach the processes outside
    return _run(code.decode())


def _watch(first: int, seconds: int) -> int:
    """Wait until the input is closed, the time is up, or process 1 of the sandbox ends. Then kill process 1.

    With process 1, the kernel ends all processes of the sandbox. Return the exit status of process 1 after that.
    """
    end = select.poll()
    end.register(0, 0)
    end.register(os.pidfd_open(first), select.POLLIN)
    end.poll(1000 * seconds)
    os.kill(first, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    return status if status >= 0 else 1


def _reap(child: int) -> int:
    """Collect each child process that ends, until ``child`` ends. Return 0, or 1 if ``child`` failed."""
    while True:
        ended, status = os.wait()
        if ended == child:
            return 1 if status else 0


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError if it fails."""
    import ctypes  # some builds of Python lack it, and an ImportError is an answer

    result: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    if result == -1:
        raise OSError(f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def _enter_namespaces() -> None:
    """Enter new namespaces, in which this process has all rights.

    The user id is the same inside and outside. If it is root's, the namespace also has an unprivileged user id.
    """
    if MACHINE not in CALLS:
        raise OSError(f"no list of system calls for {MACHINE}")
    _write("/proc/self/oom_score_adj", "1000")  # if the machine has no memory left, the kernel ends the example first
    process, root = os.getpid(), os.geteuid() == 0
    entered, enter = os.pipe()
    mapper = os.fork()
    if mapper == 0:  # only a process outside may map two users
        os.close(enter)
        os.read(entered, 1)
        try:
            if not root:
                _write(f"/proc/{process}/setgroups", "deny")
            for name, own in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
                _write(f"/proc/{process}/{name}", f"{own} {own} 1\n" + root * f"{UNPRIVILEGED} {UNPRIVILEGED} 1\n")
        except OSError:
            os._exit(1)
        os._exit(0)
    _call("unshare", NAMESPACES)
    os.close(enter)
    if os.waitpid(mapper, 0)[1]:
        raise OSError("uid_map: users cannot be mapped")
    os.close(entered)
    _call("sethostname", b"sandbox", 7)
    loopback = _call("socket", 2, 2, 0)
    _call("ioctl", loopback, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    os.close(loopback)


def _shown() -> list[str]:
    """Return the paths that an example sees: Python, the system libraries for it, time zones, and a few devices.

    Paths that do not exist on this machine are left out.
    """
    packed = [f"{folder}/{MACHINE}-linux-gnu" for folder in ("/lib", "/usr/lib")]  # on Debian, apart from programs
    libraries = packed if os.path.isdir(packed[1]) else ["/lib", "/usr/lib"]
    python = os.path.dirname(os.__file__) if sys.base_prefix == "/usr" else f"{sys.base_prefix}/lib"
    others = ["/lib64", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", sys.executable, *DEVICES]
    return [path for path in [*libraries, python, *others] if os.path.exists(path)]


def _build_root() -> None:
    """Replace the root of this process by a small file system in memory.

    The file system has libraries, which can only be read, and an empty folder for the example's own files.
    """
    import site  # only for the places of installed packages, which an example does not see

    os.umask(0o022)  # another user than root must be able to enter the folders
    sources = {path: os.path.realpath(path) for path in _shown()}
    _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    _mount_memory(PLACE, 0, f"size={DISK},nr_inodes=1000,mode=755")
    os.mkdir(f"{PLACE}/outside")
    os.mkdir(f"{PLACE}/box")
    _call("pivot_root", PLACE.encode(), f"{PLACE}/outside".encode())
    for path, source in sources.items():
        _show(f"/outside{source}", f"/box{path}", devices=path in DEVICES)
    for folder in filter(os.path.isdir, (f"/box{path}" for path in site.getsitepackages())):
        _mount_memory(folder, READ_ONLY, "nr_inodes=1")
    for folder in (HOME, "/etc", "/dev/shm"):  # noqa: S108 - in the new root
        os.makedirs(f"/box{folder}", exist_ok=True)
        os.chmod(f"/box{folder}", 0o777)  # noqa: S103 - the example has another user than root
    for path, text in TEXTS.items():
        _write(f"/box{path}", text)
    _call("umount2", b"/outside", DETACH)
    os.chroot("/box")  # the kernel makes no new user namespace in a changed root: there one could mount more memory
    os.chdir(HOME)


def _mount_memory(folder: str, flags: int, options: str) -> None:
    _call("mount", b"tmpfs", folder.encode(), b"tmpfs", flags | MS_NOSUID | MS_NODEV, options.encode())


def _show(source: str, path: str, *, devices: bool) -> None:
    """Make a file or folder visible at ``path``, read-only, together with everything that is mounted in it."""
    os.makedirs(path if os.path.isdir(source) else os.path.dirname(path), exist_ok=True)
    if not os.path.isdir(source):
        _write(path, "")
    _call("mount", source.encode(), path.encode(), None, MS_BIND | MS_REC, None)
    attributes = struct.pack("=QQQQ", READ_ONLY | NO_SUID | (0 if devices else NO_DEV), 0, 0, 0)
    _call("syscall", MOUNT_SETATTR, -1, path.encode(), AT_RECURSIVE, attributes, len(attributes))


def _give_up_rights(seconds: int) -> None:
    """Give up all rights and set the limits, of this process and of its future children."""
    import resource  # not there on every system

    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
        os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    _call("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24))
    _call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call("prctl", DUMPABLE, 0, 0, 0, 0)  # the code cannot trace process 1, and end what that does
    _call("prctl", DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    limits = {"CPU": seconds, "AS": MEMORY, "FSIZE": FILE_SIZE, "NOFILE": OPEN_FILES, "NPROC": PROCESSES, "CORE": 0}
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    os.close(os.open(os.__file__, os.O_RDONLY))  # fails if only root may read the library of Python
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _filter_calls()


def _filter_calls() -> None:
    """Make the kernel refuse the system calls in ``CALLS``, and any socket of a family that is not in ``FAMILIES``."""
    import ctypes  # as above

    architecture, socket, *refused = CALLS[MACHINE]
    allow, refuse, kill = ((6, 0, 0, result) for result in (0x7FFF0000, 0x00050001, 0x80000000))
    load, equal = 0x20, 0x15  # a load is from: 0 the number, 4 the architecture, 16 the first argument
    rules = [(load, 0, 0, 4), (equal, 1, 0, architecture), kill, (load, 0, 0, 0), (0x35, 0, 1, 0x40000000), refuse]
    rules += [rule for number in refused for rule in ((equal, 0, 1, number), refuse)]
    rules += [(equal, 1, 0, socket), allow, (load, 0, 0, 16)]
    rules += [rule for family in FAMILIES for rule in ((equal, 0, 1, family), allow)]
    program = b"".join(struct.pack("=HBBI", *rule) for rule in [*rules, refuse])
    buffer = ctypes.create_string_buffer(program, len(program))
    _call("prctl", SECCOMP, 2, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)), 0, 0)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _run(code: str) -> int:
    """Run ``code`` as ``__main__``. Return 0. If ``code`` raises an exception, print its traceback and return 1."""
    import site
    import traceback
    from types import ModuleType

    site.main()  # for help() and the like
    sys.argv[:] = ["example.py"]
    own = sys.modules["__main__"]  # kept alive: the names of a module without references are set to None
    sys.modules["__main__"] = ModuleType("__main__")
    names = vars(sys.modules["__main__"])
    try:
        if code.lstrip().startswith(">>>"):
            _run_session(code, names)
        else:
            _execute(code, "exec", names)
    except Exception as error:  # noqa: BLE001 - an exception of the example is its result
        sys.stdout.flush()
        traceback.print_exception(type(error), error, _without_this_file(error.__traceback__))
        return 1
    finally:
        sys.modules["__main__"] = own
    return 0


def _run_session(text: str, names: dict[str, object]) -> None:
    import doctest  # importing it takes 60 ms, and plain code does not need it

    for example in doctest.DocTestParser().get_examples(text):
        first, *rest = example.source.rstrip("\n").split("\n")
        print(f">>> {first}", *(f"... {line}" for line in rest), sep="\n", flush=True)
        _execute(example.source, "single", names)


def _execute(code: str, mode: str, names: dict[str, object]) -> None:
    import linecache

    # In the cache, so that a traceback shows the lines.
    linecache.cache["example.py"] = (len(code), None, code.splitlines(keepends=True), "example.py")
    exec(compile(code, "example.py", mode), names)  # noqa: S102 - this is the purpose of the process


def _without_this_file(frames: TracebackType | None) -> TracebackType | None:
    """Return the part of the traceback that belongs to the example: without the frames of this file."""
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    return frames


if __name__ == "__main__":
    sys.exit(main())
