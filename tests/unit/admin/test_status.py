"""Folder sizes count every file below, and survive files that vanish."""

from zabra.admin.status import folder_size
from zabra.runtime.disk import RealDisk


def test_folder_size_is_recursive(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(b"123")
    assert folder_size(RealDisk(), str(tmp_path)) == 8


def test_what_is_not_there_counts_nothing(tmp_path):
    assert folder_size(RealDisk(), str(tmp_path / "no")) == 0


def test_a_file_that_vanishes_counts_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert folder_size(RealDisk(), str(tmp_path)) == 5
