from __future__ import annotations

import pytest

from pipeline_app.casa_log import BENIGN_SEVERE, CasaSevere, refuse_severe

SEVERE = "2026-11-25 08:50:41\tSEVERE\tgaincal::::casa\t"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param(f"fine\n{SEVERE}no solutions\n", "gaincal::::casa: no solutions", id="severe"),
        pytest.param(f"{SEVERE}{BENIGN_SEVERE[0]}\n{SEVERE}first\n{SEVERE}second\n", "first\n", id="benign and not"),
        pytest.param("".join(f"{SEVERE}number {n}\n" for n in range(99)), "and 89 more", id="bounded"),
    ],
)
def test_what_casa_calls_severe_is_quoted_in_the_failure(tmp_path, text, quoted):
    log = tmp_path / "log"
    log.write_text(text)
    with pytest.raises(CasaSevere) as raised:
        refuse_severe(log, 0)
    message = str(raised.value)
    assert quoted in message and BENIGN_SEVERE[0] not in message and len(message) < 7000


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        pytest.param(f"{SEVERE}{BENIGN_SEVERE[0]}\n", 0, id="benign"),
        pytest.param("2026-11-25 08:50:41\tWARN\tx\tSEVERE weather\n\tnot SEVERE\n", 0, id="only mentioned"),
        pytest.param(before := f"{SEVERE}no solutions\n", len(before), id="of an earlier attempt"),
    ],
)
def test_what_is_not_severe_is_no_failure(tmp_path, text, offset):
    (tmp_path / "log").write_text(text)
    refuse_severe(tmp_path / "log", offset)
    refuse_severe(tmp_path / "absent", 0)
