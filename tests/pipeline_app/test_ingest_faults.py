"""Each error class of PostgreSQL at each statement of the watching ingest: every tile starts once, with all files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_app.calibrators import calibrator
from pipeline_app.models import SubbandFile
from pipeline_app.simulation.geometry import transit_before
from pipeline_app.telescope import SIDEREAL_RATE_DEG_PER_SEC
from tasks_app.models import Run
from tests.fault_injection import CLASSES
from tests.pipeline_app.tiles import START, copy_tile, make_raw_tile

ROOT = Path(__file__).resolve().parents[2]
OF_A_FILE = ("22021", "23505")
"""A value that the database cannot hold, or holds already: the file is refused by its name, and its tile waits."""
FEW = ("25006", "40001", "42703", "terminated")
TILES_MOST = 200
SIDEREAL_DAY = timedelta(seconds=360.0 / SIDEREAL_RATE_DEG_PER_SEC)
TARGET_AFTER = timedelta(seconds=472)
"""The calibrator is at 2 degrees from the pointing by then, too weak to be solved for."""


@pytest.fixture(scope="module")
def tile(tmp_path_factory) -> list[Path]:
    known = calibrator("3C454.3")
    transit = transit_before(known.ra_deg, known.dec_deg, START)
    return make_raw_tile(tmp_path_factory.mktemp("tile"), start=transit - timedelta(seconds=155), kind="calibrator")


class FaultyIngest:
    def __init__(self, environment: dict[str, str], directory: Path, classes: tuple[str, ...]) -> None:
        self.incoming = Path(environment["ABSURD_DATA_ROOTS"]) / "incoming"
        self.incoming.mkdir()
        self._account = directory / "account.json"
        self._log = directory / "ingest.log"
        options = ["absurd_ingest", str(self.incoming), "--watch", "--poll-interval", "0.05"]
        argv = [sys.executable, "-m", "tests.faulty_command", str(self._account), ",".join(classes), "10", *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self._log.read_text()[-5000:]

    @property
    def account(self) -> dict[str, int]:
        return json.loads(self._account.read_text()) if self._account.exists() else {"outstanding": 1, "injected": 0}

    def take(self, tile: list[Path], number: int) -> None:
        """Deliver a tile and wait for its run: of a calibrator, once a sidereal day, and of a target, by turns."""
        later = number // 2 * SIDEREAL_DAY + number % 2 * TARGET_AFTER
        files = copy_tile(tile, self.incoming / f"{number}", later=later)
        while Run.objects.count() < number + 1:
            assert self.process.poll() is None, self.log
            time.sleep(0.05)
        run = Run.objects.order_by("-id")[0]
        assert {Path(path) for path in run.params["paths"]} == set(files)


@pytest.fixture
def ingest(request, live_environment: dict[str, str], tmp_path: Path) -> Iterator[FaultyIngest]:
    faulty = FaultyIngest(live_environment, tmp_path, request.param)
    yield faulty
    faulty.process.kill()
    faulty.process.wait()


def outlive(ingest: FaultyIngest, tile: list[Path], tiles: int) -> int:
    number = 0
    for number in range(tiles):
        ingest.take(tile, number)
        if not ingest.account["outstanding"]:
            break
    assert Run.objects.count() == number + 1
    assert SubbandFile.objects.filter(state="accepted").count() == 16 * (number + 1)
    ingest.process.send_signal(signal.SIGTERM)
    assert ingest.process.wait(60) == 0, ingest.log
    return ingest.account["injected"]


@pytest.mark.parametrize("ingest", [FEW], indirect=True)
def test_the_ingest_outlives_faults_at_its_statements(ingest, tile):
    assert outlive(ingest, tile, tiles=2) > 10


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ingest", [tuple(each for each in CLASSES if each not in OF_A_FILE)], indirect=True)
def test_the_ingest_outlives_each_fault_at_each_statement(ingest, tile):
    outlive(ingest, tile, tiles=TILES_MOST)
    assert ingest.account["outstanding"] == 0
