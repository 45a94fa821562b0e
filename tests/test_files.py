"""Files that appear complete or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from mmext.files import replacing, write_file


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with replacing(path) as part:
        part.write_text("a")
        assert part.suffix == ".csv"
        assert part.name.startswith(".")
        assert not path.exists()
    assert path.read_text() == "a"
    with replacing(str(path)) as part:
        part.write_text("b")
        assert path.read_text() == "a"
    assert path.read_text() == "b"
    assert list(path.parent.iterdir()) == [path]


def write_half(path):
    path.write_text("half")
    raise IsADirectoryError


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(IsADirectoryError), replacing(path) as part:
        write_half(part)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), replacing(path):  # nothing is written
        pass
    assert path.read_text() == "old"


def test_a_killed_process_leaves_what_was_there(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    script = (
        "import os, signal, sys; from mmext.files import replacing\n"
        "with replacing(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_file(path, "new")
    assert path.read_text() == "new"


def test_text_and_bytes_as_they_are(tmp_path):
    write_file(tmp_path / "a" / "text", "ä\r\n")
    write_file(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "text").read_bytes() == "ä\r\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "bytes").stat().st_mode & 0o777 == 0o666 & ~umask
