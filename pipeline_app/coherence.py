"""How well a calibration still fits a target: thresholds on the coherence of its phases, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline_app.quality import Assessment, assess


@dataclass(frozen=True, kw_only=True)
class CoherenceLimits:
    """Losses of flux, as fractions, and phases."""

    fail_loss: float = 0.02
    warn_loss: float = 0.01
    max_error: float = 0.02
    """A coherence that is not known to this is not known."""
    warn_repaired_loss: float = 0.01
    """What self-calibration has won back is said from this on."""


@dataclass(frozen=True, kw_only=True)
class CoherenceFigures:
    """What was measured on a target; None where the field is too faint or the model empty."""

    coherence: float | None
    """Factor on a flux, before self-calibration."""
    coherence_error: float | None
    coherence_after: float | None
    """The same after it; None when it was not applied."""
    phase_rms_deg: float | None


def judge_coherence(figures: CoherenceFigures, limits: CoherenceLimits | None = None) -> Assessment:
    """Say whether the fluxes of a target keep their scale.

    A loss that self-calibration has repaired is a warning that names it; one that is left beyond the limit fails.
    """
    limits = limits or CoherenceLimits()
    if figures.coherence is None or figures.coherence_error is None:
        return assess((), ("the model has no flux: whether the calibration still fits is not known",))
    if figures.coherence_after is not None:
        return _judge_repaired(figures, figures.coherence_after, limits)
    if figures.coherence_error > limits.max_error:
        return assess(
            (),
            (
                "the field is too faint to say whether the calibration still fits: "
                f"coherence {figures.coherence:.3f} ± {figures.coherence_error:.3f}",
            ),
        )
    loss = 1.0 - figures.coherence
    text = (
        f"phases differ by {figures.phase_rms_deg:.1f}° rms from the calibration and could not be solved: "
        f"coherence {figures.coherence:.3f} ± {figures.coherence_error:.3f}"
    )
    if loss > limits.fail_loss:
        return assess((text,), ())
    return assess((), (text,) if loss > limits.warn_loss else ())


def flux_scale_error(figures: CoherenceFigures) -> float:
    """Return the error in proportion to a flux that what is left of the phases' errors makes; 0 where not measured."""
    if figures.coherence is None or figures.coherence_error is None:
        return 0.0
    coherence = figures.coherence if figures.coherence_after is None else figures.coherence_after
    return 1.0 - min(coherence, 1.0)


def _judge_repaired(figures: CoherenceFigures, after: float, limits: CoherenceLimits) -> Assessment:
    text = (
        f"phases had changed by {figures.phase_rms_deg:.1f}° rms since the calibration (coherence "
        f"{figures.coherence:.3f}); self-calibrated to {after:.3f}"
    )
    if 1.0 - after > limits.fail_loss:
        return assess((text,), ())
    repaired = 1.0 - (figures.coherence or 1.0) > limits.warn_repaired_loss
    return assess((), (text,) if repaired else ())
