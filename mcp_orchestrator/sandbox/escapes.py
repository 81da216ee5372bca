"""Attempts to get out of the sandbox, each with the layer that has to stop it.

An attempt prints ``ESCAPED`` when it got what it must not get. ``{secret}`` stands for the path of
a file on the host that the server can read and nothing inside may.
"""

from collections.abc import Iterator
from dataclasses import dataclass

ESCAPED = "ESCAPED"


@dataclass(frozen=True)
class Attempt:
    """One way to try.

    Attributes:
        name: what is tried.
        layer: what has to hold.
        code: the program.
        bomb: True when it is meant to run into a limit and must not end well.
    """

    name: str
    layer: str
    code: str
    bomb: bool = False


_FAMILIES = {
    "INET": 2, "AX25": 3, "IPX": 4, "APPLETALK": 5, "X25": 9, "INET6": 10, "KEY": 15,
    "NETLINK": 16, "PACKET": 17, "RDS": 21, "PPPOX": 24, "CAN": 29, "TIPC": 30, "BLUETOOTH": 31,
    "RXRPC": 33, "ALG": 38, "NFC": 39, "VSOCK": 40, "KCM": 41, "QIPCRTR": 42, "SMC": 43, "XDP": 44,
}  # fmt: skip

#: Numbers for x86-64; elsewhere they are other calls, so the attempts are left out there.
_CALLS = {
    "ptrace": (101, 16, 1), "process_vm_readv": (310, 1, 0), "process_vm_writev": (311, 1, 0),
    "kcmp": (312, 1, 1), "bpf": (321, 0, 0), "perf_event_open": (298, 0, 0),
    "userfaultfd": (323, 1), "keyctl": (250, 0, -3, 1), "add_key": (248, 0, 0),
    "request_key": (249, 0, 0), "io_uring_setup": (425, 8, 0), "name_to_handle_at": (303, -100, 0),
    "open_by_handle_at": (304, -100, 0), "unshare user": (272, 0x10000000),
    "unshare mount": (272, 0x20000), "unshare network": (272, 0x40000000), "setns": (308, 0, 0),
    "clone3": (435, 0, 88), "chroot": (161, 0), "pivot_root": (155, 0, 0), "mount": (165, 0, 0, 0),
    "umount2": (166, 0, 0), "open_tree": (428, -100, 0), "move_mount": (429, 0, 0),
    "fsopen": (430, 0, 0), "mount_setattr": (442, -100, 0), "swapon": (167, 0), "reboot": (169, 0),
    "init_module": (175, 0), "finit_module": (313, 0), "delete_module": (176, 0),
    "kexec_load": (246, 0), "iopl": (172, 3), "ioperm": (173, 0, 1, 1), "modify_ldt": (154, 0, 0),
    "personality": (135, 0x40000), "settimeofday": (164, 0, 0), "clock_settime": (227, 0, 0),
    "sethostname": (170, 0, 0), "syslog": (103, 3, 0), "quotactl": (179, 0, 0), "acct": (163, 0),
    "fanotify_init": (300, 0, 0), "memfd_secret": (447, 0), "pidfd_getfd": (438, 3, 0),
    "landlock_create_ruleset": (444, 0, 0, 1), "seccomp": (317, 2, 0, 0), "vhangup": (153,),
    "mknod": (133, 0, 0o60666), "capset": (126, 0, 0), "setuid 0": (105, 0), "setgid 0": (106, 0),
    "shmget": (29, 0, 4096, 0o1777), "msgget": (68, 0, 0o1777), "semget": (64, 0, 1, 0o1777),
}  # fmt: skip
_HARMLESS = {"capset", "setuid 0", "setgid 0"}  # allowed to be asked; tested by what they give

_WRITES = (
    "/usr/x", "/usr/bin/python3", "/bin/x", "/lib/x", "/x", "/opt/x", "/etc/passwd", "/dev/x",
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/pids/pids.max", "/proc/1/oom_score_adj",
)  # fmt: skip

_READS = {
    "directly": "open('{secret}').read()",
    "through process 1's root": "open('/proc/1/root{secret}').read()",
    "through our own root": "open('/proc/self/root{secret}').read()",
    "through a symbolic link": "os.symlink('{secret}', 'l'); open('l').read()",
    "through a hard link": "os.link('{secret}', 'l'); open('l').read()",
    "by climbing": "open('../' * 30 + '{secret}'.lstrip('/')).read()",
    "through open descriptors": "[open(f'/proc/self/fd/{{n}}/../..{secret}').read() for n in "
    "os.listdir('/proc/self/fd')]",
    "as process 1's environment": "open('/proc/1/environ').read()",
    "as process 1's memory": "open('/proc/1/mem', 'rb')",
    "as process 1's descriptors": "os.listdir('/proc/1/fd')",
    "as process 1's maps": "open('/proc/1/maps').read(1) or 1 / 0",
    "as the shadow file": "open('/etc/shadow').read()",
    "as the kernel's memory": "open('/proc/kcore', 'rb').read(4096)[0]",
    "as a disk": "open([n for n in ('/dev/vda', '/dev/sda', '/dev/nvme0n1') "
    "if os.path.exists(n)][0], 'rb').read(1)",
    "as the engine's socket": "open('/var/run/docker.sock')",
}


#: Ways to have the server hand out what is not the program's, or more than it may.
_ARTIFACTS = {
    "a symbolic link to the host as artifact": "os.symlink('{secret}', 'a.txt')",
    "a link to process 1's files as artifact": "os.symlink('/proc/1/environ', 'a.txt')",
    "a linked folder as artifacts": "os.symlink('/etc', 'etc'); os.symlink('/', 'root')",
    "a relative link out of the folder": "os.symlink('../' * 20 + '{secret}'[1:], 'a.txt')",
    "a link renamed over a file": "open('a.txt', 'w').write('x'); os.symlink('{secret}', 'b'); "
    "os.rename('b', 'a.txt')",
    "a folder that becomes a link": "os.mkdir('d'); open('d/x', 'w').close(); "
    "os.rename('d', 'e'); os.symlink('/proc/self', 'd')",
    "a hard link as artifact": "open('a', 'w').write('x'); os.link('a', 'b')\n"
    "try: os.link('/usr/bin/env', 'c')\nexcept OSError: pass",
    "a sparse file of a terabyte": "try: os.truncate(os.open('s', os.O_CREAT | os.O_RDWR), 1 << 40)"
    "\nexcept OSError: pass",
    "a sparse file as large as the disk": "os.truncate(os.open('s', os.O_CREAT | os.O_RDWR), "
    "60 << 20)",
    "a tree a thousand folders deep": "for _ in range(1000): os.mkdir('d'); os.chdir('d'); "
    "open('f', 'w').write('x')",
    "ten thousand artifacts": "for n in range(10000): open(str(n), 'w').write('x')",
    "a named pipe nobody writes to": "try: os.mkfifo('p')\nexcept OSError: pass",
    "a socket as artifact": "import socket; socket.socket(socket.AF_UNIX).bind('s')",
    "names that break a path": "for n in ('a\\nb', '\\x1b[2J', '..a', '\\u202e', 'x' * 255): "
    "open(n, 'w').write('x')",
    "an artifact frame on every descriptor": "import struct\n"
    "p = b'../../etc/cron.d/x'; f = len(p).to_bytes(2, 'big') + p + b'ESC' + b'APED'\n"
    "for n in range(256):\n    try: os.write(n, struct.pack('>cI', b'A', len(f)) + f)\n"
    "    except OSError: pass",
}


def attempts(secret: str, machine: str) -> Iterator[Attempt]:
    """Give every attempt that makes sense on a processor.

    Args:
        secret: the path of a file that must not be read.
        machine: the processor inside, such as ``"x86_64"``.
    """
    for name, family in _FAMILIES.items():
        code = (
            "import socket\n"
            "for kind in (1, 2, 3, 5):\n"
            f"    try: socket.socket({family}, kind)\n"
            "    except OSError: continue\n"
            f"    print('{ESCAPED}'); break\n"
        )
        yield Attempt(f"a socket of family {name}", "system-call-filter", code)
    if machine == "x86_64":
        for name, (number, *arguments) in _CALLS.items():
            yield _call(name, number, arguments)
    for path in _WRITES:
        body = f"os.close(os.open({path!r}, os.O_WRONLY | os.O_APPEND))"
        if path.endswith("/x"):
            body = f"open({path!r}, 'w').write('x')"
        yield Attempt(f"write {path}", "read-only-root", _trying(body))
    for way, expression in _READS.items():
        body = expression.format(secret=secret)
        yield Attempt(f"read the host {way}", "namespaces", _trying(body))
    for name, body in _ARTIFACTS.items():
        yield Attempt(name, "artifact-intake", "import os\n" + body.format(secret=secret))
    yield from _OTHERS
    yield from _BOMBS


def _trying(body: str) -> str:
    success = f"    {body}\n    print('{ESCAPED}')\n"
    return f"import os\ntry:\n{success}except Exception as e: print(repr(e))\n"


def _call(name: str, number: int, arguments: list[int]) -> Attempt:
    given = ", ".join(f"ctypes.c_long({each})" for each in arguments)
    test = "os.getuid() == 0 or os.getgid() == 0" if name in _HARMLESS else "answer != -1"
    code = (
        "import ctypes, os\n"
        f"answer = ctypes.CDLL(None).syscall({number}, {given})\n"
        f"if {test}: print('{ESCAPED}')\n"
    )
    return Attempt(f"the system call {name}", "system-call-filter", code)


_OTHERS = (
    Attempt("map ourselves to root", "unprivileged-user", _trying(
            "os.write(os.open('/proc/self/uid_map', os.O_WRONLY), b'0 0 1')")),
    Attempt("see a network interface", "no-network",
            "names = [l.split(':')[0].strip() for l in open('/proc/net/dev') if ':' in l]\n"
            "if set(names) - {'lo'}: print('ESCAPED')"),
    Attempt("see other processes", "own-process-tree",
            "import os\nif len([n for n in os.listdir('/proc') if n.isdigit()]) > 2:"
            " print('ESCAPED')"),
    Attempt("kill process 1", "own-process-tree",
            "import os, time\nfor n in (9, 15, 2, 11):\n"
            "    try: os.kill(1, n)\n    except OSError: pass\n"
            "time.sleep(.2)\nprint('alive')"),
    Attempt("keep a capability", "no-capabilities",
            "for l in open('/proc/self/status'):\n"
            "    if l.startswith('Cap') and int(l.split()[1], 16): print('ESCAPED')"),
    Attempt("run a setuid program", "no-new-privileges",
            "import os, subprocess\n"
            "for p in ('/usr/bin/su', '/bin/su', '/usr/bin/passwd', '/usr/bin/mount'):\n"
            "    if os.path.exists(p):\n"
            "        r = subprocess.run(['/bin/sh', '-c', f'grep CapEff /proc/self/status; {p} "
            "--version'], capture_output=True, text=True)\n"
            "        if 'CapEff:\\t0000000000000000' not in r.stdout: print('ESCAPED')"),
    Attempt("make a setuid program", "unprivileged-user",
            "import os, shutil\nshutil.copy('/bin/sh', 'sh'); os.chmod('sh', 0o4755)\n"
            "if os.stat('sh').st_uid == 0: print('ESCAPED')"),
    Attempt("raise a resource limit", "unprivileged-user", _trying(
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (99999, 99999))")),
    Attempt("take a real-time priority", "unprivileged-user", _trying(
            "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))")),
    Attempt("raise our priority", "unprivileged-user", _trying(
            "os.setpriority(os.PRIO_PROCESS, 0, -10)")),
    Attempt("type into the server's terminal", "system-call-filter", _trying(
            "import fcntl; fcntl.ioctl(0, 0x5412, b'x')")),
    Attempt("open the controlling terminal", "namespaces", _trying("open('/dev/tty')")),
    Attempt("find a secret in the environment", "empty-environment",
            "import os\nif any(w in k for k in os.environ for w in ('KEY', 'TOKEN', 'SECRET',"
            " 'PASSWORD', 'URL')): print('ESCAPED')"),
    Attempt("find an open descriptor of the server", "closed-descriptors",
            "import os\nfor n in os.listdir('/proc/self/fd'):\n"
            "    try: t = os.readlink(f'/proc/self/fd/{n}')\n    except OSError: continue\n"
            "    if not t.startswith(('pipe:', '/memfd:', '/proc/', '/dev/null')):"
            " print('ESCAPED', t)"),
    Attempt("forge a final frame on standard output", "own-supervisor",
            "import os, struct, json\nf = json.dumps({'exit_code': 0}).encode()\n"
            "for fd in range(256):\n"
            "    try: os.write(fd, struct.pack('>cI', b'F', len(f)) + f)\n"
            "    except OSError: pass\n"
            "raise SystemExit(3)"),
    Attempt("forge a frame through process 1", "own-supervisor", _trying(
            "open('/proc/1/fd/1', 'wb').write(b'F')")),
    Attempt("rewrite process 1", "own-supervisor", _trying("open('/proc/1/mem', 'r+b')")),
    Attempt("sleep through the end by ignoring signals", "wall-clock",
            "import os, signal, time\n"
            "for n in range(1, 65):\n"
            "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
            "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n"
            "time.sleep(600)", bomb=True),
)  # fmt: skip

_BOMBS = tuple(
    Attempt(name, layer, code, bomb=True)
    for name, layer, code in (
        ("a fork bomb", "processes", "import os\nwhile True: os.fork()"),
        ("a thread bomb", "processes",
         "import threading, time\n"
         "while True: threading.Thread(target=time.sleep, args=(9,)).start()"),
        ("a memory bomb", "memory", "x = []\nwhile True: x.append(bytearray(1 << 22))"),
        ("memory in many processes", "memory",
         "import os\nfor _ in range(8):\n    if os.fork() == 0: break\n"
         "x = b'x' * (90 << 20)\nimport time; time.sleep(600)"),
        ("memory in anonymous files", "memory",
         "import os\nkeep = []\nwhile True:\n    f = os.memfd_create('x'); keep.append(f)\n"
         "    for _ in range(32): os.write(f, bytes(1 << 20))"),
        ("a full working folder", "disk-by-size",
         "f = open('/box/f', 'wb')\nwhile True: f.write(bytes(1 << 20))"),
        ("a full /tmp", "disk-by-size",
         "n = 0\nwhile True:\n    n += 1; open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))"),
        ("a full /dev/shm", "disk-by-size",
         "n = 0\nwhile True:\n    n += 1; open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20))"),
        ("endless output", "output-cap", "while True: print('x' * 65536)"),
        ("endless files", "descriptors", "k = []\nwhile True: k.append(open('/dev/null'))"),
        ("endless small files", "memory",
         "n = 0\nwhile True:\n    n += 1; open(f'/tmp/{n}', 'w').close()"),
        ("a deep folder", "wall-clock",
         "import os\nwhile True: os.mkdir('d'); os.chdir('d')"),
        ("a busy processor in every process", "wall-clock",
         "import os\nfor _ in range(8): os.fork()\nwhile True: pass"),
        ("endless recursion in C", "memory",
         "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()"),
    )
)  # fmt: skip
