"""What a handler, and with it the daemon, cannot do; and how a person lets it."""

TRY = """
def attempt(what, *arguments):
    try:
        print(what(*arguments))
    except OSError as error:
        print(type(error).__name__, error.errno)
"""


def trying(code):
    return TRY + code


def test_it_writes_in_its_own_folders_only(shared):
    places = "/etc/x", "/etc/tifftock/x", "/etc/tifftock/handlers.d/x.py", "/usr/x", "/usr/lib/x", "/var/x", \
        "/var/lib/x", "/run/x", "/boot/x", "/opt/x", "/srv/x", "/root/x", "/home/ann/x", "/dev/x", "/x"  # fmt: skip
    code = "import os\nfor place in {!r}:\n attempt(os.open, place, os.O_CREAT | os.O_WRONLY)\n"
    said = shared.output(trying(code.format(places))).splitlines()
    assert len(said) == len(places)
    for place, line in zip(places, said, strict=True):
        assert line.split()[0] in ("OSError", "PermissionError", "FileNotFoundError"), place
    allowed = "/var/lib/tifftock/x", "/tmp/x", "/var/tmp/x", "/run/tifftock/x", "here"
    said = shared.output(trying(code.format(allowed))).splitlines()
    assert all(line.isdecimal() for line in said), said
    assert not shared.machine.run("ls", "/tmp/x", check=False).stdout, "its /tmp is its own"


def test_it_does_not_see_homes(shared):
    shared.machine.write("/home/ann/diary", "secret", "0644", "ann:ann")
    shared.machine.run("chmod", "-R", "a+rX", "/home/ann")
    code = "import os\nfor place in ('/home', '/root', '/run/user'):\n attempt(os.listdir, place)\n"
    assert set(shared.output(trying(code)).splitlines()) <= {"[]", "PermissionError 13"}
    assert shared.output(trying("attempt(open, '/home/ann/diary')")) in ("PermissionError 13", "FileNotFoundError 2")


# Each of these an ordinary process may do, or root.
CALLS = """
syscall(nr["init_module"], b"x" * 100, 100, b"")
syscall(nr["finit_module"], 0, b"", 0)
syscall(nr["delete_module"], b"x", 0)
syscall(nr["bpf"], 0, None, 0)
syscall(nr["kexec_load"], 0, 0, None, 0)
mount(b"none", b"/tmp", b"tmpfs", 0, None)
unshare(CLONE_NEWUSER)
unshare(CLONE_NEWNS)
ptrace(PTRACE_SEIZE, os.getppid(), None, None)
sethostname(b"x", 1)
settimeofday((ctypes.c_long * 2)(0, 0), None)
reboot(0)
swapon(b"/x", 0)
chroot(b"/tmp")
setuid(0)
personality(ADDR_NO_RANDOMIZE)
sched_setscheduler(0, SCHED_FIFO, (ctypes.c_int * 1)(10))
mprotect(ctypes.c_void_p(page), 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
""".strip().splitlines()

CALL = """
import ctypes, mmap, os, platform
CLONE_NEWUSER, CLONE_NEWNS, PTRACE_SEIZE, ADDR_NO_RANDOMIZE, SCHED_FIFO = 0x10000000, 0x20000, 0x4206, 0x40000, 1
nr = {
    "x86_64": {"init_module": 175, "finit_module": 313, "delete_module": 176, "bpf": 321, "kexec_load": 246},
    "aarch64": {"init_module": 105, "finit_module": 273, "delete_module": 106, "bpf": 280, "kexec_load": 104},
}[platform.machine()]
area = mmap.mmap(-1, 4096)
page = ctypes.addressof(ctypes.c_char.from_buffer(area))
libc = ctypes.CDLL(None, use_errno=True)
"""


def test_it_can_neither_load_a_module_nor_leave_its_cage(shared):
    code = CALL + "\n".join(f"print(libc.{call}, os.strerror(ctypes.get_errno()))" for call in CALLS)
    said = dict(zip(CALLS, shared.output(code).splitlines(), strict=True))
    # EPERM is the system call filter's; where a noexec mount says no before it, it is EACCES.
    refusals = "-1 Operation not permitted", "-1 Permission denied"
    assert {call: line for call, line in said.items() if line not in refusals} == {}


def test_it_has_no_rights_to_lose(shared):
    status = dict(line.split(":", 1) for line in shared.output("print(open('/proc/self/status').read())").splitlines())
    for name, value in (("CapPrm", 0), ("CapEff", 0), ("CapBnd", 0), ("CapAmb", 0), ("NoNewPrivs", 1), ("Seccomp", 2)):
        assert int(status[name], 16) == value, name
    said = shared.output("import os; print(sorted(name for name in os.listdir('/proc') if name.isdecimal())[0])")
    assert said != "1", "other people's processes are not seen"


def test_what_was_written_cannot_be_run(shared):
    code = """
import os, shutil, subprocess
for folder in {folders}:
    shutil.copy("/bin/true", folder)
    attempt(subprocess.call, folder + "/true")
attempt(subprocess.call, "/bin/true")
"""
    folders = "/var/lib/tifftock", "/tmp", "/var/tmp", "/dev/shm", "/run/tifftock"
    said = shared.output(trying(code.replace("{folders}", str(folders)))).splitlines()
    assert said == ["PermissionError 13"] * len(folders) + ["0"]


def test_executables_in_the_folder_of_the_handlers_are_run_and_links_out_of_it_are_not(shared):
    shared.dropin("bell.sh", '#!/bin/sh\necho "$1"; [ -w "$0" ] || echo "$0 stays as it is"\n', mode="0755")
    shared.machine.shell(
        "install -D -m 0755 /bin/echo /opt/bell/echo; ln -s /opt/bell/echo /etc/tifftock/handlers.d/far"
    )
    shared.machine.shell("ln -s /bin/echo /etc/tifftock/handlers.d/near")
    shared.reload()
    bell = "/etc/tifftock/handlers.d/bell.sh"
    assert shared.outcome(shared.remind(method="bell"))["output"] == f"test\n{bell} stays as it is\n"
    assert shared.outcome(shared.remind(method="near"))["output"] == "test\n"
    [failure] = shared.get("/handlers")["failures"]
    assert failure["file"] == "/etc/tifftock/handlers.d/far"
    assert "ExecPaths=/opt/bell allows it" in failure["error"]


def test_it_starts_without_the_folder_of_the_handlers(service):
    service.machine.run("rm", "-r", "/etc/tifftock/handlers.d")
    service.restart()
    assert service.outcome(service.remind())["outcome"] == "delivered"


# ---- what the unit's comments say about who needs more


def test_a_folder_elsewhere_can_be_given_to_it(service):
    service.machine.shell("install -d -o _tifftock -m 0750 /srv/log")
    service.override("ReadWritePaths=/srv/log")
    service.restart()
    service.output("print(open('/srv/log/note', 'w').write('x'))")
    assert service.machine.run("cat", "/srv/log/note").stdout == "x"


def test_one_folder_of_a_home_can_be_given_to_it(service):
    service.machine.shell("install -d -o ann -g _tifftock -m 0770 /home/ann/notes; echo secret >/home/ann/diary")
    service.override("ProtectHome=tmpfs", "BindPaths=/home/ann/notes")
    service.restart()
    said = service.output("import os; open('/home/ann/notes/note', 'w').write('x'); print(os.listdir('/home/ann'))")
    assert said == "['notes']"
    assert service.machine.run("cat", "/home/ann/notes/note").stdout == "x"


def test_a_program_elsewhere_can_be_given_to_it(service):
    service.machine.shell("install -D -m 0755 /bin/true /opt/lamp/true")
    code = "import subprocess\nattempt(subprocess.call, '/opt/lamp/true')\n"
    assert service.output(trying(code)) == "PermissionError 13"
    service.override("ExecPaths=/opt/lamp")
    service.restart()
    assert service.output(trying(code)) == "0"
