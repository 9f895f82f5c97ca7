import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from copytrace import folders, manifests
from copytrace.errors import InputError

SCRIPTS = Path(manifests.__file__).parent.parent


def picture(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path, "PNG")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(source):
    return manifests.list_pictures(source)[0]["image_id"].tolist()


# Folders


def test_a_folder_is_listed_with_its_subfolders_and_nothing_else(tmp_path):
    touch(tmp_path, "b.JPG", "a/z.png", "a.webp", "a/deep/er/x.TiFf", "notes.txt", "noending", ".hidden.jpg")
    touch(tmp_path, ".cache/y.jpg", "jpg", "archive.jpg.zip")
    listing, rejected = manifests.list_pictures(tmp_path)
    assert listing["image_id"].tolist() == ["a", "a/deep/er/x", "a/z", "b"]
    assert listing["path"].tolist() == [
        f"{tmp_path}/{name}" for name in ("a.webp", "a/deep/er/x.TiFf", "a/z.png", "b.JPG")
    ]
    assert rejected.empty and list(rejected.columns) == ["path", "reason"]


def test_ids_that_would_collide_keep_their_endings(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.png", "sub/a.jpg", "b.x.jpg", "b.jpg")
    assert sorted(ids(tmp_path)) == ["a.jpg", "a.jpg.png", "a.png", "b", "b.x", "sub/a"]


@given(st.lists(st.from_regex(r"[ab.]{0,3}[ab](\.jpg|\.png|\.PNG){1,3}", fullmatch=True), min_size=1, unique=True))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_ids_are_unique_and_begin_the_name(names):
    found = manifests._unique_ids(pd.Series(names))
    assert found.is_unique
    assert all(name.startswith(image_id) for name, image_id in zip(names, found))


def test_odd_names_survive_the_way_to_the_tables(tmp_path):
    names = [
        "a b",
        " c",
        'd"e',
        "f'g",
        "h,i",
        "j\nk",
        "-l",
        "$m",
        "n\\o",
        "ü",
        "日本",
        "p" * 236,
        "q%r",
        "\u202es",
    ]
    touch(tmp_path / "in", *(f"{name}.jpg" for name in names))
    listing, _ = manifests.list_pictures(tmp_path / "in")
    manifests.write_table(listing, tmp_path / "listing.parquet")
    assert sorted(pd.read_parquet(tmp_path / "listing.parquet")["image_id"]) == sorted(names)
    _, rejected = manifests.scan_pictures(listing, 1000, 1)
    manifests.write_rejected(rejected, "queries", tmp_path / "rejected.csv")
    read = manifests.read_rejected(tmp_path / "rejected.csv")
    assert read["path"].tolist() == listing["path"].tolist()
    assert set(read["role"]) == {"queries"} and read["reason"].str.contains("no picture").all()


def test_names_that_fit_in_no_table_are_rejected(tmp_path):
    touch(tmp_path, "good.jpg", "line\rline.jpg")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no such names")
    listing, rejected = manifests.list_pictures(tmp_path)
    assert listing["image_id"].tolist() == ["good"]
    manifests.write_rejected(rejected, "queries", tmp_path / "rejected.csv")
    read = manifests.read_rejected(tmp_path / "rejected.csv")
    assert read[["path", "reason"]].to_numpy().tolist() == [
        [f"{tmp_path}/caf\\xe9.jpg", "the name is not UTF-8"],
        [f"{tmp_path}/line\\rline.jpg", "the name contains a carriage return"],
    ]
    assert folders.folder_digest(tmp_path)


def test_links_in_circles_end_and_no_folder_is_listed_twice(tmp_path):
    touch(tmp_path / "in", "a/x.jpg", "b/y.jpg")
    touch(tmp_path / "outside", "z.jpg")
    for link, target in {
        "a/up": "..",
        "a/b": "../b",
        "0": "b",
        "c": "../outside",
        "d": "../outside",
        "e": "e",
    }.items():
        (tmp_path / "in" / link).symlink_to(target)
    (tmp_path / "in" / "a" / "link.jpg").symlink_to("x.jpg")
    assert ids(tmp_path / "in") == ["a/link", "a/x", "b/y", "c/z"]


def test_a_thousand_folders_deep(tmp_path):
    start = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.jpg").write_bytes(b"x")
    finally:
        os.chdir(start)
    assert ids(tmp_path) == ["d/" * 1100 + "x"]
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # shutil.rmtree recurses


def test_things_called_like_pictures_are_left_to_the_scan(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    picture(tmp_path / "folder.jpg" / "inside.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    listing, _ = manifests.list_pictures(tmp_path)
    assert listing["image_id"].tolist() == ["circle", "folder.jpg/inside", "pipe"]
    manifest, rejected = manifests.scan_pictures(listing, 1000, 1)
    assert manifest["image_id"].tolist() == ["folder.jpg/inside"]
    assert rejected["path"].tolist() == [f"{tmp_path}/circle.jpg", f"{tmp_path}/pipe.jpg"]


def test_a_subfolder_that_cannot_be_read_is_rejected(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing, rejected = manifests.list_pictures(tmp_path)
    assert listing["image_id"].tolist() == ["a"]
    assert rejected["path"].tolist() == [f"{tmp_path}/closed"]
    assert rejected["reason"].tolist() == ["the folder cannot be read: Permission denied"]


@pytest.mark.parametrize("name", ["missing", "empty", "a.jpg", "a.jpg/below", "n" * 300, "pipe", "binary"])
def test_sources_that_are_mistakes(tmp_path, name):
    touch(tmp_path, "a.jpg", "empty/notes.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=name) as mistake:
        manifests.list_pictures(tmp_path / name)
    assert "\n" not in str(mistake.value)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=rf"^{tmp_path}: the folder cannot be read: Permission denied$"):
        manifests.list_pictures(tmp_path)


# List files


def write_list(folder, *lines, end="\n"):
    (folder / "list.txt").write_text(end.join(lines), encoding="utf-8", newline="")
    return folder / "list.txt"


def test_a_list_keeps_its_order_and_finds_files_beside_itself(tmp_path):
    touch(tmp_path, "in/R000001.jpg", "in/R000000.jpg", "in/sub/b.png", "else where/c.jpg", "else where/d.jpg")
    lines = [
        "R000001",
        "",
        "sub/b.png",
        "  ",
        "R000000",
        "../else where/c.jpg",
        str(tmp_path / "else where/d.jpg"),
    ]
    for end in ("\n", "\r\n"):
        listing, rejected = manifests.list_pictures(write_list(tmp_path / "in", *lines, "", end=end))
        absolute = f"{tmp_path}/else where/d"
        assert listing["image_id"].tolist() == ["R000001", "sub/b", "R000000", "../else where/c", absolute]
        assert listing["path"].tolist()[:2] == [f"{tmp_path}/in/R000001.jpg", f"{tmp_path}/in/sub/b.png"]
        assert listing["path"].tolist()[4] == f"{absolute}.jpg"
        assert rejected.empty


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa\n")
    assert ids(tmp_path / "list.txt") == ["a"]


def test_a_dot_in_a_folder_is_no_ending(tmp_path):
    touch(tmp_path, "v1.0/a.jpg")
    assert ids(write_list(tmp_path, "v1.0/a")) == ["v1.0/a"]


@pytest.mark.parametrize(
    "lines, reason",
    [
        (["a", "z", "y.png"], r"2 of the 3 files that .* do not exist; the first is .*z\.jpg"),
        (["a", "a.jpg"], r"repeats 1 path.* a\.jpg"),
        (["", "  "], "names no pictures"),
        (["a", "b", "x/../a.jpg"], r"names one file twice: a\.jpg and x/\.\./a\.jpg"),
    ],
)
def test_lists_that_are_mistakes(tmp_path, lines, reason):
    touch(tmp_path, "a.jpg", "b.jpg", "x/c.jpg")
    with pytest.raises(InputError, match=reason):
        manifests.list_pictures(write_list(tmp_path, *lines))


# The digest of a folder


def test_the_digest_changes_with_the_pictures_and_with_nothing_else(tmp_path):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    seen = {folders.folder_digest(tmp_path)}

    def is_new():
        before = len(seen)
        seen.add(folders.folder_digest(tmp_path))
        return len(seen) > before

    assert not is_new()
    touch(tmp_path, "notes.txt", ".hidden.jpg")
    assert not is_new()
    touch(tmp_path, "sub/c.jpg")
    assert is_new()
    (tmp_path / "sub/c.jpg").rename(tmp_path / "c.jpg")
    assert is_new()
    (tmp_path / "c.jpg").write_bytes(b"longer")
    assert is_new()
    os.utime(tmp_path / "c.jpg", ns=(1, 1))
    assert is_new()
    (tmp_path / "c.jpg").unlink()
    assert not is_new()  # as at the start


def test_the_digest_needs_no_packages_and_no_folder(tmp_path):
    code = "import sys; from copytrace.folders import folder_digest; folder_digest('no');"
    code += "sys.exit('numpy' in sys.modules)"
    environment = {"PYTHONPATH": str(SCRIPTS)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


# Scanning


def test_scanning_keeps_the_order_and_says_why(tmp_path):
    picture(tmp_path / "c.png", (30, 20))
    picture(tmp_path / "a.jpg", (10, 40))
    touch(tmp_path, "b.jpg")
    (tmp_path / "d.jpg").write_bytes(b"")
    picture(tmp_path / "e.jpg", (100, 100))
    listing = manifests.list_pictures(tmp_path)[0].iloc[::-1]
    for threads in (1, 3):
        manifest, rejected = manifests.scan_pictures(listing, 2000, threads)
        assert manifest["image_id"].tolist() == ["c", "a"]
        assert manifest[["width", "height"]].to_numpy().tolist() == [[30, 20], [10, 40]]
        assert (manifest[["width", "height"]].dtypes == "int32").all()
        assert rejected["path"].tolist() == [f"{tmp_path}/{name}.jpg" for name in "edb"]
        assert [reason.split()[-1] for reason in rejected["reason"]] == ["all", "empty", "off"]


def test_a_picture_of_the_manifest_has_its_turned_size(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    manifest, _ = manifests.scan_pictures(manifests.list_pictures(tmp_path)[0], 2000, 1)
    assert manifest[["width", "height"]].to_numpy().tolist() == [[20, 30]]


def script(name, *arguments, folder):
    return subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py", *arguments], cwd=folder, capture_output=True, text=True
    )


def test_the_scripts_from_folder_to_manifest(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / "in" / f"{name}.png")
    touch(tmp_path / "in", "bad.jpg")
    files = ["--listing", "listing.parquet", "--rejected", "r.csv"]
    assert script("list_images", "--source", "in", "--role", "queries", *files, folder=tmp_path).returncode == 0
    for shard in ("0", "1"):
        outputs = [
            "--manifest",
            f"{shard}.parquet",
            "--rejected",
            f"{shard}.csv",
            "--listing",
            "listing.parquet",
        ]
        flags = [
            "--role",
            "queries",
            "--shard",
            shard,
            "--shards",
            "2",
            "--max-pixels",
            "1000",
            "--threads",
            "1",
        ]
        done = script("scan_images", *flags, *outputs, folder=tmp_path)
        assert done.returncode == 0 and "2 pictures in" in done.stderr
    merge = [
        "--rejected",
        "r.csv",
        "0.csv",
        "1.csv",
        "--manifest",
        "m.parquet",
        "--rejected-out",
        "rejected.csv",
    ]
    assert script("merge_manifests", "--manifests", "0.parquet", "1.parquet", *merge, folder=tmp_path).returncode == 0
    manifest = pd.read_parquet(tmp_path / "m.parquet")
    assert manifest["image_id"].tolist() == ["a", "b", "c"]
    assert list(manifest.columns) == ["image_id", "path", "width", "height"]
    assert (manifest[["width", "height"]].dtypes == "int32").all()
    rejected = (tmp_path / "rejected.csv").read_text().splitlines()
    assert rejected[0] == "role,path,reason" and rejected[1].startswith("queries,in/bad.jpg,")
    assert len(rejected) == 2


def test_a_role_without_one_readable_picture_stops(tmp_path):
    empty = pd.DataFrame({"image_id": [], "path": [], "width": [], "height": []})
    manifests.write_table(empty, tmp_path / "0.parquet")
    manifests.write_rejected(
        pd.DataFrame({"path": ["x.jpg"], "reason": ["the file is empty"]}), "queries", tmp_path / "0.csv"
    )
    flags = [
        "--manifests",
        "0.parquet",
        "--rejected",
        "0.csv",
        "--manifest",
        "m.parquet",
        "--rejected-out",
        "r.csv",
    ]
    done = script("merge_manifests", *flags, folder=tmp_path)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == "error: none of the 1 pictures for queries is readable: x.jpg: the file is empty"
    assert not (tmp_path / "m.parquet").exists()
