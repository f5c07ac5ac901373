import os
import re
import stat

import pytest

from sgt_hf.atomic import copy_atomically, filled_folder, link_or_copy, write_atomically


def test_a_file_is_replaced_whole_and_has_the_rights_of_others(tmp_path):
    (tmp_path / "ordinary").write_text("")
    target = tmp_path / "below" / "file.txt"
    write_atomically(target, "old")
    write_atomically(target, "λ")
    assert target.read_text(encoding="utf-8") == "λ"
    assert os.listdir(target.parent) == ["file.txt"]
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_a_failure_in_between_leaves_the_folder_as_it_was(tmp_path):
    write_atomically(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), filled_folder(tmp_path) as staging:
        (staging / "a").write_text("half")
        (staging / "b").write_text("new")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_of_an_earlier_save_in_other_shards_go(tmp_path):
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name in (*shards, "model.safetensors.index.json"):
        (tmp_path / name).write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    write_atomically(tmp_path / "config.json", "{}")
    assert len(list(tmp_path.iterdir())) == 5  # no weights were saved: those that are there stay
    with filled_folder(tmp_path) as staging:
        (staging / "model.safetensors").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]


def test_files_of_folders_below_come_too(tmp_path):
    with filled_folder(tmp_path / "target") as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "file").write_text("x")
    assert (tmp_path / "target" / "sub" / "file").read_text() == "x"


def test_copying_leaves_out_what_it_is_told(tmp_path):
    for name in ("model.safetensors", "optimizer.pt", "_hidden"):
        write_atomically(tmp_path / "from" / name, name)
    (tmp_path / "from" / "folder").mkdir()
    copy_atomically(tmp_path / "from", tmp_path / "to", leave_out=re.compile("optimizer|_"))
    assert os.listdir(tmp_path / "to") == ["model.safetensors"]


@pytest.mark.parametrize("links", [True, False])
def test_what_is_kept_does_not_change_with_its_source(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    source, kept = tmp_path / "source", tmp_path / "kept"
    for name in ("model.safetensors", "runs/events", "checkpoint-1/model.safetensors", "_x"):
        write_atomically(source / name, "old")
    link_or_copy(source, kept, leave_out=("_*", "checkpoint-*"))
    assert os.path.samefile(source / "model.safetensors", kept / "model.safetensors") is links
    write_atomically(source / "model.safetensors", "new")
    with (source / "runs" / "events").open("a") as events:
        events.write(" and new")
    found = {path.relative_to(kept).as_posix(): path.read_text() for path in kept.rglob("*") if path.is_file()}
    assert found == {"model.safetensors": "old", "runs/events": "old"}


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name, there in (("link", True), ("dangling", False)):
        target, link = tmp_path / "elsewhere" / name, tmp_path / name
        if there:
            target.write_text("old")
        link.symlink_to(target)
        write_atomically(link, "new")
        assert link.is_symlink()
        assert target.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "elsewhere", "link"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / "pipe", "λ")
        assert os.read(reader, 10).decode() == "λ"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    write_atomically("/dev/null", "x")
    assert not os.path.isfile("/dev/null")
