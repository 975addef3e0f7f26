"""Folders on file systems without hard links: files appear whole, once, or not at all there too."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
CALLS = {"x86_64": {"link": (86, 265), "renameat2": (316,)}, "aarch64": {"link": (37,), "renameat2": (276,)}}
"""Numbers of system calls."""

# A process in which the kernel answers these calls as file systems do that lack them; and what it does then.
WITHOUT = """
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
calls = eval(sys.argv[2])  # number -> errno
code = b"".join(
    struct.pack("HBBI", *of)
    for of in [
        (0x20, 0, 0, 0),
        *(i for n, e in calls.items() for i in ((0x15, 0, 1, n), (0x06, 0, 0, 0x50000 | e))),
        (0x06, 0, 0, 0x7FFF0000),
    ]
)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit("no seccomp")
"""
WRITE = """
import sys
from pathlib import Path
from t2i_shards.pipeline.shards.store import open_store
store = open_store(sys.argv[1])
source = Path(sys.argv[1], "..", "source" + sys.argv[3])
made = 0
for number in range(40):
    source.write_bytes(sys.argv[3].encode() * 10_000)
    made += store.create(f"race/{number}", source)
    assert source.read_bytes()[:1] == sys.argv[3].encode(), "the source stays"
assert store.create_bytes("race/0", b"later") is False
print(made)
"""


def race(root: Path, calls: dict[int, int]) -> None:
    """Four processes create the same forty files."""
    root.mkdir(exist_ok=True)
    script = WITHOUT + WRITE if calls else WRITE
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), repr(calls), str(number)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    said = [writer.communicate() for writer in writers]
    if any("no seccomp" in err for _, err in said):
        pytest.skip("may not filter system calls here (needs seccomp)")
    assert [err for _, err in said] == [""] * 4
    assert sum(int(out) for out, _ in said) == 40, "each file has one maker"
    for number in range(40):
        data = (root / "race" / str(number)).read_bytes()
        assert len(data) == 10_000
        assert len(set(data)) == 1
    assert not list((root / ".scratch").iterdir())


@pytest.mark.parametrize("lacks", [("link",), ("link", "renameat2")])
def test_without_links_each_file_has_one_maker(lacks: tuple[str, ...], tmp_path: Path) -> None:
    numbers = CALLS.get(platform.machine())
    if numbers is None:
        pytest.skip("knows the system calls of x86_64 and aarch64 alone")
    errors = {"link": 1, "renameat2": 22}  # EPERM, EINVAL
    race(tmp_path / "root", {number: errors[name] for name in lacks for number in numbers[name]})


def mount_exfat(folder: Path) -> Iterator[None]:
    image = folder.with_name("image")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.exfat", image], check=True, capture_output=True)
    loop = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if loop.returncode:
        pytest.skip("may not use a loop device here")
    device = loop.stdout.strip()
    try:
        if subprocess.run(["mount.exfat-fuse", device, folder], capture_output=True).returncode:
            pytest.skip("may not mount a file system in user space here")
        yield
        subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def mount_rclone(folder: Path) -> Iterator[None]:
    behind = folder.with_name("behind")
    behind.mkdir()
    command = ["rclone", "mount", "--vfs-cache-mode", "writes", "--cache-dir", str(behind) + "-cache"]
    with subprocess.Popen([*command, behind, folder], stderr=subprocess.DEVNULL) as rclone:
        while not os.path.ismount(folder):
            if rclone.poll() is not None:
                pytest.skip("may not mount a file system in user space here")
            time.sleep(0.05)
        yield
        subprocess.run(["umount", "--lazy", folder], check=True)


MOUNTS = {
    "exfat": (mount_exfat, ("mkfs.exfat", "mount.exfat-fuse", "losetup")),
    "rclone": (mount_rclone, ("rclone",)),
}


@pytest.fixture(params=list(MOUNTS))
def failure_limit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system in user space that has no hard links."""
    mount, programs = MOUNTS[request.param]
    if not all(map(shutil.which, programs)) or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip(f"needs FUSE and {', '.join(programs)}")
    folder = tmp_path / "fuse"
    folder.mkdir()
    with contextmanager(mount)(folder):
        yield folder


def test_on_a_file_system_in_user_space_without_links(failure_limit: Path) -> None:
    (failure_limit / "a").write_bytes(b"1")
    with pytest.raises(OSError, match="a"):
        os.link(failure_limit / "a", failure_limit / "b")
    race(failure_limit / "root", {})
