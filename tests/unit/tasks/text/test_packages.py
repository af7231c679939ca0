"""Which files of installed packages hold documentation, told on packages made here and on the real environment."""

import sys

import pytest

from tasks.text import packages


def install(root, name, version, files, metadata=""):
    """Put a package where `importlib.metadata` finds it."""
    info = root / f"{name.replace('-', '_')}-{version}.dist-info"
    contents = {
        **files,
        f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
    }
    for path, text in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*contents, f"{info.name}/RECORD"]))


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    packages._root.cache_clear()
    yield tmp_path
    packages._root.cache_clear()


def test_documentation_is_found_and_the_rest_left_out(site):
    names = [
        "zoo/__init__.py", "zoo/animals.py", "zoo/guide.md", "zoo/deep/notes.rst",
        "zoo/tests/__init__.py", "zoo/_vendor/other.py", "zoo/test_animals.py", "zoo/conftest.py",
        "zoo/not-a-module.py", "zoo/data.json", "zoo/lib.so", "zoo-1.0.dist-info/licenses/LICENSE", "zoo/LICENSE.md",
    ]  # fmt: skip
    install(site, "zoo", "1.0", dict.fromkeys(names, ""))
    with (site / "zoo-1.0.dist-info" / "RECORD").open("a") as record:
        record.write("../../bin/zoo.py,,\n")
    [package] = packages.installed()
    assert {file.path: file.kind for file in package.files} == {
        "zoo/__init__.py": "docstring", "zoo/animals.py": "docstring", "zoo/guide.md": "markdown",
        "zoo/deep/notes.rst": "rst", "zoo-1.0.dist-info/METADATA": "metadata",
        "zoo-1.0.dist-info/licenses/LICENSE": "license",
    }  # fmt: skip


def test_files_are_named_and_found_again_by_uri(site):
    install(site, "Big_Zoo", "1.0+local", {"zoo/ä.py": "x = 1"})
    [package] = packages.installed()
    uri = package.uri("zoo/ä.py")
    assert uri == "pypi://big-zoo/1.0+local/zoo/%C3%A4.py"
    assert packages.locate(uri) == site / "zoo" / "ä.py"
    assert packages.locate(uri.replace("1.0", "2.0")) is None
    assert packages.locate(uri.replace("big-zoo", "small-zoo")) is None


def test_include_and_exclude_by_wildcard(site):
    for name in ("zoo", "zoo-extra", "park"):
        install(site, name, "1", {f"{name.replace('-', '_')}.py": ""})
    install(site, "pedigree", "1", {"model/x.py": ""})

    def chosen(**by):
        return [package.name for package in packages.installed(**by)]

    assert chosen() == ["park", "zoo", "zoo-extra"]
    assert chosen(include=["Zoo*"]) == ["zoo", "zoo-extra"]
    assert chosen(include=["*"], exclude=["zoo_*", "park"]) == ["zoo"]


def test_a_file_of_two_packages_belongs_to_the_first(site):
    install(site, "zoo", "1", {"zoo.py": ""})
    install(site, "zoo-lite", "1", {"zoo.py": ""})
    assert [[file.path for file in package.files if file.kind == "docstring"] for package in packages.installed()] == [
        ["zoo.py"],
        [],
    ]


def test_the_licence_comes_from_metadata_or_the_licence_file(site):
    install(site, "told", "1", {"told.py": ""}, "License-Expression: MIT\n")
    install(site, "file", "1", {"file.py": "", "file-1.dist-info/LICENSE": "Apache License Version 2.0"})
    install(site, "none", "1", {"none.py": ""})
    assert {package.name: package.license for package in packages.installed()} == {
        "told": "MIT", "file": "Apache-2.0", "none": None,
    }  # fmt: skip


def test_a_package_without_a_record_is_left_out(site):
    install(site, "zoo", "1", {"zoo.py": ""})
    (site / "zoo-1.dist-info" / "RECORD").unlink()
    assert packages.installed() == []


def test_a_choice_by_size_is_stable_and_within_the_limit():
    sizes = [(f"p{number}", 10 + number) for number in range(30)]
    taken = packages.within(sizes, 200, seed=1)
    assert 0 < sum(size for name, size in sizes if name in taken) <= 200
    assert packages.within(list(reversed(sizes)), 200, seed=1) == taken
    assert packages.within(sizes, 200, seed=2) != taken
    assert packages.within(sizes, None, seed=1) == {name for name, _ in sizes}


def test_the_real_environment_has_packages_with_licences():
    found = {package.name: package for package in packages.installed(include=["numpy", "pydantic", "pyarrow"])}
    assert set(found) == {"numpy", "pydantic", "pyarrow"}
    assert found["pydantic"].license == "MIT"
    assert packages.locate(found["numpy"].uri("numpy/__init__.py")).is_file()
