"""The pages of sources and their light curves."""

from __future__ import annotations

import csv

import pytest
from django.urls import reverse

from pipeline_app.admin import sources
from pipeline_app.models import Measurement
from tests.pipeline_app.console_rows import DEC_DEG, NAMES, RA_DEG, addresses

pytestmark = pytest.mark.django_db
QUERIES_MOST = 15


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", set(NAMES)),
        ("S0", set(NAMES)),
        ("s02", {"S02"}),
        ("00:40:00 +16:06:00", {"S02"}),
        ("10.0 16.1 r=30", set(NAMES)),
        ("nothing", set()),
    ],
)
def test_sources_are_found_by_name_and_position(nights, viewer, query, names):
    response = viewer.get(reverse("admin:page_sources"), {"q": query})
    assert {source.name for source in response.context["sources"]} == names


def test_a_source_across_ra_zero_is_found(nights, viewer):
    Measurement.objects.filter(name="S01").update(ra_deg=359.99)
    Measurement.objects.filter(name="S02").update(ra_deg=0.01)
    response = viewer.get(reverse("admin:page_sources"), {"q": "0.0 16.1 r=30"})
    assert {source.name for source in response.context["sources"]} == {"S01", "S02"}


def test_names_that_differ_in_case_only_are_each_found_once(nights, viewer):
    Measurement.objects.filter(name="S01").update(name="s02")
    response = viewer.get(reverse("admin:page_sources"), {"q": "S02"})
    assert sorted(source.name for source in response.context["sources"]) == ["S02", "s02"]


def test_of_too_many_sources_in_a_cone_the_nearest_are_listed(nights, viewer, monkeypatch):
    offsets_deg = {name: 0.01 * number for number, name in enumerate(reversed(NAMES))}
    for name, offset_deg in offsets_deg.items():
        Measurement.objects.filter(name=name).update(ra_deg=RA_DEG, dec_deg=DEC_DEG + offset_deg)
    monkeypatch.setattr(sources.find, "__defaults__", (2,))
    response = viewer.get(reverse("admin:page_sources"), {"q": f"{RA_DEG} {DEC_DEG} r=30"})
    found = response.context["sources"]
    assert [source.name for source in found] == list(offsets_deg)[:2]
    assert found[1].separation_arcmin == pytest.approx(0.6, abs=1e-6)


def test_the_variable_source_stands_out_and_the_others_set_the_scale_of_an_epoch(nights, viewer):
    sources = {each.name: each for each in viewer.get(reverse("admin:page_sources")).context["sources"]}
    assert [name for name, each in sources.items() if each.varies.is_candidate] == ["S01"]
    assert sources["S01"].varies.eta == pytest.approx(((0.5 - 0.75) / 2e-3) ** 2 * 2)
    # The second night is a tenth too bright for all: the factor shows it, and the variable has no part in it.
    for row in Measurement.objects.filter(observation=nights[1].observation).exclude(name="S01"):
        Measurement.objects.filter(pk=row.pk).update(flux_jy=row.flux_jy * 1.1)
    rows = viewer.get(addresses(nights[0])["source"]).context["rows"]
    first, second = sorted((point.mid_mjd, factor) for point, factor in rows)
    assert second[1] / first[1] == pytest.approx(1.1, rel=0.005)


def test_a_failed_epoch_is_shown_and_counts_in_no_figure(nights, viewer):
    Measurement.objects.filter(observation=nights[1].observation).update(verdict="fail")
    source = viewer.get(addresses(nights[0])["source"]).context["source"]
    assert (source.varies.n_epochs, source.n_failed, source.varies.eta) == (1, 1, None)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a/b?c&d=e", "\u202egnp", "two\nlines"])
def test_a_source_with_an_odd_name_has_a_page(nights, viewer, name):
    Measurement.objects.filter(name="S01").update(name=name)
    page = viewer.get(reverse("admin:page_sources"))
    address = next(source.address for source in page.context["sources"] if source.name == name)
    text = viewer.get(address).content.decode()
    assert "<script>alert" not in text and viewer.get(address).context["source"].name == name


def test_an_unknown_source_is_not_found(nights, viewer):
    assert viewer.get(reverse("admin:page_source"), {"name": "nobody"}).status_code == 404


def test_a_measurement_leads_to_its_source(nights, viewer):
    row = Measurement.objects.get(name="S03", observation=nights[0].observation)
    answer = viewer.get(reverse("admin:pipeline_app_measurement_change", args=[row.pk]))
    assert answer["Location"] == f"{reverse('admin:page_source')}?name=S03"


def test_a_light_curve_is_shown_as_measured_or_normalised(nights, viewer):
    """The others of the second night are 0.2 % up or down; the median of their ratios is their common factor."""
    address = addresses(nights[0])["source"]
    measured, normalised = (viewer.get(f"{address}{more}").context for more in ("", "&normalised=1"))
    fluxes = [{series.name: series.points[0][1:] for series in each["curve"].series} for each in (measured, normalised)]
    factors = {row[0].verdict: row[1] for row in measured["rows"]}
    assert fluxes[0] == {"pass": pytest.approx((500, 2)), "warn": pytest.approx((1000, 2))}
    assert 0.995 < factors["pass"] < 1.005 and factors["pass"] != 1.0
    for verdict, (flux_mjy, error_mjy) in fluxes[0].items():
        assert fluxes[1][verdict] == pytest.approx((flux_mjy / factors[verdict], error_mjy / factors[verdict]))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("S0", NAMES),
        ("s02", ("S02",)),
        ("S", NAMES),
        (f"{RA_DEG}, {DEC_DEG}", ("S02",)),
        (f"{RA_DEG}° {DEC_DEG}° r=10", NAMES),
        ("J0040+161", ("S02", "S03")),
        ("J004000.0+160600.0", ("S02",)),
        ("00:40:00 +16:06:00", ("S02",)),
        ("nowhere", ()),
        ("180 16.1", ()),
    ],
)
def test_sources_are_found_by_what_people_paste(nights, viewer, query, names):
    found = viewer.get(reverse("admin:page_sources"), {"q": query}).context["sources"]
    assert sorted(source.name for source in found) == sorted(names)


def test_a_source_called_like_a_position_is_found_by_its_name(nights, viewer):
    Measurement.objects.filter(name="S03").update(name="J2000+0000")
    found = viewer.get(reverse("admin:page_sources"), {"q": "J2000+0000"}).context["sources"]
    assert [source.name for source in found] == ["J2000+0000"]


def test_the_sources_found_are_there_as_csv_with_units_and_without_formulas(nights, viewer):
    Measurement.objects.filter(name="S03").update(name="=S03")
    page = viewer.get(reverse("admin:page_sources"), {"q": "S0"}).content.decode()
    address = f"{reverse('admin:page_sources_csv')}?q=S0"
    assert f'href="{address}"' in page
    rows = list(csv.DictReader(viewer.get(address).content.decode().splitlines()))
    assert [row["name"] for row in rows] == ["S01", "S02"]
    expected = {"ra_deg": 9.95, "dec_deg": 16.06, "mean_flux_jy": 0.75, "catalog_flux_jy": 0.5, "n_epochs": 2}
    assert {name: float(rows[0][name]) for name in expected} == pytest.approx(expected)
    assert (rows[0]["varies"], rows[1]["varies"]) == ("yes", "no")
    everything = viewer.get(reverse("admin:page_sources_csv")).content.decode()
    assert "'=S03" in everything
    near = viewer.get(reverse("admin:page_sources_csv"), {"q": f"{RA_DEG} {DEC_DEG} r=2"}).content.decode()
    assert [row["separation_arcmin"] for row in csv.DictReader(near.splitlines())] == ["0.0"]
