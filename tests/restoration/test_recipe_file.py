import pytest

from mmext.restoration.recipe_file import claim_folder


def test_same_recipe_goes_on_and_another_is_refused(tmp_path):
    folder = tmp_path / "train"
    claim_folder(folder, dict(size=256))
    (folder / "1.png").write_bytes(b"")
    claim_folder(folder, dict(size=256))
    with pytest.raises(FileExistsError, match=r"written with \{'size': 256\}, not \{'size': 128\}"):
        claim_folder(folder, dict(size=128))


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="holds other files"):
        claim_folder(tmp_path, dict(size=256))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
