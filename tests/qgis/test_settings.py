"""The entry of a plugin in QGIS's settings; all other bytes stay."""

from hypothesis import given
from hypothesis import strategies as st

from geosr.qgis import settings

values = st.binary(max_size=6).filter(lambda value: not set(value) & set(b"\r\n"))
keys = st.tuples(st.sampled_from([b"other", b"geosr2", b"Geosr", b"a\\geosr"]), values).map(b"=".join)
sections = st.lists(
    st.tuples(st.sampled_from([b"[PythonPlugins]", b"[General]", b"[qgis]"]), st.lists(keys, min_size=1, max_size=3)),
    max_size=3,
    unique_by=lambda section: section[0],
)


@given(sections, st.sampled_from([b"\n", b"\r\n"]))
def test_enabling_adds_lines_and_disabling_takes_them_away(sections, newline):
    before = (newline * 2).join(newline.join([name, *entries]) for name, entries in sections)
    before += newline if before else b""
    enabled = settings.with_plugin(before, "geosr")
    assert settings.is_enabled(enabled, "geosr")
    assert not settings.is_enabled(before, "geosr")
    assert settings.with_plugin(enabled, "geosr") == enabled
    if sections:
        assert settings.without_plugin(enabled, "geosr") == before
        assert settings.without_plugin(before, "geosr") == before


def test_an_entry_of_another_section_is_another():
    content = b"[Plugins]\ngeosr=true\n"
    assert not settings.is_enabled(content, "geosr")
    assert settings.without_plugin(content, "geosr") == content


def test_the_first_section_goes_with_the_line_behind_it():
    assert settings.without_plugin(b"[PythonPlugins]\ngeosr=true\n\n[qgis]\na=1\n", "geosr") == b"[qgis]\na=1\n"


def test_a_disabled_plugin_is_enabled_in_its_line():
    content = b"[PythonPlugins]\ngeosr=false\nother=true\n"
    assert settings.with_plugin(content, "geosr") == content.replace(b"false", b"true")


def test_links_and_permissions_stay(tmp_path):
    file, link = tmp_path / "real.ini", tmp_path / "QGIS3.ini"
    file.write_bytes(b"a")
    file.chmod(0o640)
    link.symlink_to(file)
    settings.replace(link, b"b")
    assert link.is_symlink()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"b", 0o640)
    assert {path.name for path in tmp_path.iterdir()} == {"real.ini", "QGIS3.ini"}
