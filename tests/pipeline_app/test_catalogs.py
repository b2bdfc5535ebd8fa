from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_app.catalogs import read_catalog
from pipeline_app.stages.photometry import Position
from tasks_app.engine.handler import InvalidInput


def catalog(directory: Path, text: str) -> Path:
    path = directory / "sources.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_reads_names_positions_and_fluxes(tmp_path: Path) -> None:
    text = "\ufeff# made by hand\nflux_jy, name, ra_deg ,dec_deg,note\n0.5,A,10.5,54.5,x\n\n,B,359.9,-1,\n"
    assert read_catalog(catalog(tmp_path, text)) == [
        Position(name="A", ra_deg=10.5, dec_deg=54.5, flux_jy=0.5),
        Position(name="B", ra_deg=359.9, dec_deg=-1.0, flux_jy=None),
    ]


def test_the_flux_column_may_be_missing(tmp_path: Path) -> None:
    assert read_catalog(catalog(tmp_path, "name,ra_deg,dec_deg\nA,1,2\n"))[0].flux_jy is None


def test_every_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    text = (
        "name,ra_deg,dec_deg,flux_jy\nA,1,2,0.1\n# B\nC,361,2,0.1\nD,1,abc,0.1\nE,1,2\nA,3,4,0.1\n,1,2,0.1\nF,1,2,nan\n"
    )
    with pytest.raises(InvalidInput) as caught:
        read_catalog(catalog(tmp_path, text))
    message = str(caught.value)
    assert "line 4: ra_deg '361'" in message
    assert "line 5: dec_deg 'abc'" in message
    assert "line 6: 3 fields instead of 4" in message
    assert "line 7: A is already on line 2" in message
    assert "line 8: name" in message
    assert "line 9: flux_jy" in message
    assert "line 2" not in message.replace("on line 2", "")


def test_a_thousand_bad_lines_make_a_short_message(tmp_path: Path) -> None:
    text = "name,ra_deg,dec_deg\n" + "".join(f"S{n},400,0\n" for n in range(1000))
    with pytest.raises(InvalidInput, match=r"and 990 more$"):
        read_catalog(catalog(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("name,ra,dec\nA,1,2\n", "line 1: no column ra_deg, dec_deg"),
        ("name,ra_deg,dec_deg\n", "has no source"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_catalog(catalog(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_catalog(tmp_path / "none.csv")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_catalog(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("A\0", "1 to 200 printable characters"),
        ("\x1b[31mA", "1 to 200 printable characters"),
        ("A" * 201, "1 to 200 printable characters"),
        ("A" * 200_000, "line 2: field larger than field limit"),
    ],
)
def test_a_name_that_cannot_be_stored_or_shown_is_refused_by_its_line(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        read_catalog(catalog(tmp_path, f"name,ra_deg,dec_deg\n{name},1,2\n"))
    assert "line 2" in str(caught.value) and len(str(caught.value)) < 1000


def test_markup_in_a_name_is_a_name(tmp_path: Path) -> None:
    assert read_catalog(catalog(tmp_path, "name,ra_deg,dec_deg\nS[/b],1,2\n"))[0].name == "S[/b]"
