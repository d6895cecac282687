"""`fit` and `Fit`: exact where the world is, invariant where it should be, honest where evidence is thin."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import FitError, InputError, UnitError, UnknownNameError
from perfkit.learn import fit
from perfkit.units import parse_bytes

LINES = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1)}
SIZES = [1024 * 4**power for power in range(11)]


def reordered(frame, order):
    return {name: values[order] for name, values in frame.items()}


def test_without_noise_the_crossover_is_exact(exact_frame):
    (crossover,) = fit(exact_frame(LINES), tolerance=0).crossovers()
    assert crossover.payload_bytes == pytest.approx(150_000, rel=0.01)
    assert (crossover.before, crossover.after) == ("uds", "shm_pool")
    assert crossover.low <= 150_000 <= crossover.high


def test_without_noise_predictions_are_exact_at_any_size(exact_frame):
    learned = fit(exact_frame(LINES))
    for size in (0, 1, 5000, "3MiB", 2**34, np.int64(77)):
        predicted = learned.predict("uds", size)
        size = 3 * 2**20 if size == "3MiB" else int(size)
        assert predicted.value == pytest.approx(10_000 + 0.3 * size, rel=1e-3)
        assert predicted.low <= predicted.value <= predicted.high


def test_choose_agrees_with_the_ranges_at_every_size(noisy_fit):
    ranges = noisy_fit.ranges()
    for size in np.geomspace(1, 2**36, 200):
        (holding,) = (part for part in ranges if part.start_bytes <= size < part.end_bytes)
        assert noisy_fit.choose(size) == holding.method


def test_predictions_never_fall_with_size_and_hold_their_estimate(noisy_fit):
    for method in noisy_fit.methods:
        predicted = [noisy_fit.predict(method, size) for size in np.geomspace(1, 2**36, 100)]
        assert (np.diff([one.value for one in predicted]) >= 0).all()
        assert all(0 < one.low <= one.value <= one.high for one in predicted)


def test_the_order_of_the_rows_changes_nothing(world):
    frame = world(4).observe(SIZES)
    order = np.random.default_rng(1).permutation(len(frame["method"]))
    assert fit(reordered(frame, order)).curves == fit(frame).curves


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(0.02, 50.0))
def test_scaled_latencies_scale_the_predictions(world_frame, factor):
    learned = fit(world_frame)
    scaled = fit({**world_frame, "latency_ns": world_frame["latency_ns"] * factor})
    for method in learned.methods:
        for size in (1024, 300_000, 2**30):
            before, after = learned.predict(method, size), scaled.predict(method, size)
            assert after.value == pytest.approx(before.value * factor, rel=1e-6)
            assert after.high == pytest.approx(before.high * factor, rel=1e-6)


@pytest.fixture(scope="module")
def world_frame():
    """Noisy observations of two methods."""
    random = np.random.default_rng(11)
    sizes = np.tile(SIZES, 2 * 3 * 5)
    method = np.repeat(["uds", "shm_pool"], sizes.size // 2)
    launch, round_ = (
        np.tile(np.repeat(np.arange(15), len(SIZES)), 2) // step % count for step, count in ((5, 3), (1, 5))
    )
    latency = np.where(method == "uds", 1e4 + 0.3 * sizes, 4e4 + 0.1 * sizes) * np.exp(
        random.normal(0, 0.2, sizes.size)
    )
    return {"method": method, "payload_bytes": sizes, "launch": launch, "round": round_, "latency_ns": latency}


def test_a_method_that_is_worse_everywhere_changes_no_choice(exact_frame):
    before, after = fit(exact_frame(LINES)), fit(exact_frame({**LINES, "mine": (50_000, 0.4)}))
    for size in np.geomspace(1, 2**32, 50):
        assert after.choose(size) == before.choose(size)


def test_stalls_do_not_move_the_curve(exact_frame):
    frame = exact_frame(LINES, rounds=9)
    stalled = dict(frame, latency_ns=np.where(frame["round"] == 4, frame["latency_ns"] * 50, frame["latency_ns"]))
    for size in (1024, 2**20, 2**30):
        assert fit(stalled).predict("uds", size).value == pytest.approx(fit(frame).predict("uds", size).value, rel=0.1)


def test_each_thinner_evidence_has_wider_intervals_and_says_so(world):
    def half_width(learned):
        predicted = learned.predict("uds", 2**20)
        return predicted.high / predicted.low

    full, one = fit(world(2).observe(SIZES)), fit(world(2).observe(SIZES, launches=1))
    single = fit(world(2).observe(SIZES, launches=1, rounds=1))
    assert half_width(full) < half_width(one) < half_width(single)
    assert full.warnings == ()
    assert any("1 launch" in warning and "perfkit bench" in warning for warning in one.warnings)
    assert any("1 round in a launch" in warning for warning in single.warnings)
    assert single.curves.evidence.warnings == single.warnings


def test_one_size_and_one_method_are_answered_with_warnings(exact_frame):
    learned = fit(exact_frame({"mine": (10_000, 0.1)}, sizes=(4096,)))
    assert learned.choose(10**9) == "mine"
    assert learned.predict("mine", 4096).value == pytest.approx(10_409.6, rel=1e-3)
    assert not learned.predict("mine", 8192).measured
    assert any("mine at fewer than 4 sizes" in warning for warning in learned.warnings)
    assert any("only mine was measured" in warning for warning in learned.warnings)


def test_estimates_outside_the_measured_sizes_grow_uncertain(noisy_fit):
    inside, outside = noisy_fit.predict("uds", 2**30), noisy_fit.predict("uds", 2**35)
    assert inside.measured
    assert not outside.measured
    assert outside.high / outside.low > inside.high / inside.low


def test_signalling_moves_the_crossover(exact_frame):
    uds = exact_frame({"uds": (10_000, 0.3)})
    pool = [exact_frame({"shm_pool": (fixed, 0.1)}, signalling=name) for name, fixed in (("uds", 4e4), ("grpc", 4e5))]
    uds["signalling"] = np.full(len(uds["method"]), "uds")
    learned = fit({name: np.concatenate([frame[name] for frame in (uds, *pool)]) for name in uds}, tolerance=0)
    edges = [learned.crossovers(signalling=name)[0].payload_bytes for name in ("uds", "grpc")]
    assert edges == pytest.approx([150_000, 1_950_000], rel=0.01)


def test_only_what_is_available_is_chosen(noisy_fit):
    assert noisy_fit.choose(2**30, available=("grpc", "grpc_stream")) == "grpc_stream"
    with pytest.raises(FitError, match="none of flight was measured"):
        noisy_fit.choose(2**30, available=("flight",))


def test_evidence_says_where_the_curves_come_from(exact_frame):
    frame = exact_frame(LINES, run_id="01JD", observed_at=np.datetime64("2026-11-20T21:04:00", "us"))
    evidence = fit(frame, table_versions={"transfers": 7}).curves.evidence
    assert dataclasses.asdict(evidence) == {
        "runs": ("01JD",),
        "observations": 198,
        "launches": 3,
        "rounds": 3,
        "first_observed_at": "2026-11-20T21:04:00",
        "last_observed_at": "2026-11-20T21:04:00",
        "table_versions": {"transfers": 7},
        "warnings": evidence.warnings,
        "model": "",
    }


def test_curves_survive_being_published(noisy_fit):
    assert type(noisy_fit.curves).from_json(noisy_fit.curves.to_json()) == noisy_fit.curves


def test_the_table_shows_ranges_edges_and_what_never_wins(exact_frame):
    table = fit(exact_frame({**LINES, "grpc": (3e5, 2.0)}), tolerance=0).table()
    first, last = table.to_plain()
    assert parse_bytes(first["up to"]) == pytest.approx(150_000, rel=0.01)
    assert first["method"] == "uds"
    assert first["alternatives"].startswith("shm_pool 4")
    assert " to " in first["edge between (95 %)"]
    assert (last["up to"], last["method"], last["edge between (95 %)"]) == ("any size", "shm_pool", "")
    assert table.notes[0] == "never: grpc"


def test_the_table_marks_estimates_and_the_goal_that_fell_back(exact_frame):
    table = fit(exact_frame(LINES)).table(kind="dataframe", format="arrow", goal="balanced")
    assert all("(?)" in row["expected"] for row in table.to_plain())
    assert any("goal balanced: its quantities were not measured" in note for note in table.notes)


def test_a_fit_renders_itself(noisy_fit):
    assert "uds" in str(noisy_fit)
    assert "<table>" in noisy_fit._repr_html_()
    plain = json.loads(json.dumps(noisy_fit.to_plain(), allow_nan=False))
    assert plain["ranges"][-1]["end_bytes"] is None
    assert "3 launches" in str(noisy_fit.predict("uds", 1024))


def test_sample_cells_are_plain_rows_beside_the_curve(noisy_fit):
    rows = noisy_fit.sample_cells()
    assert len(rows) == 5 * len(SIZES)
    assert {row["n"] for row in rows} == {27}
    for row in rows:
        assert row["low"] <= row["predicted"] <= row["high"]
        assert row["lowest_launch"] <= row["median"] <= row["highest_launch"]
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda f: f.choose(-1), InputError, "payload_bytes == -1"),
        (lambda f: f.choose(float("nan")), InputError, "finite number of bytes"),
        (lambda f: f.choose("3 apples"), UnitError, "3 apples"),
        (lambda f: f.choose(1, goal="fast"), UnknownNameError, "unknown goal 'fast'"),
        (lambda f: f.choose(1, kind="tensr"), UnknownNameError, "Did you mean 'tensor'"),
        (lambda f: f.choose(1, signaling="uds"), UnknownNameError, "Did you mean 'signalling'"),
        (lambda f: f.predict("grcp", 1), UnknownNameError, "Did you mean 'grpc'"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(noisy_fit, wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(noisy_fit)


def test_a_method_not_measured_with_a_signalling_says_so(exact_frame):
    learned = fit(exact_frame({**LINES, "uds": (1e4, 0.3)}, signalling="uds"))
    with pytest.raises(FitError, match="shm_pool was not measured with signalling 'grpc'"):
        learned.predict("shm_pool", 1024, signalling="grpc")


def test_a_tolerance_outside_0_to_1_is_refused(exact_frame):
    with pytest.raises(InputError, match="tolerance == 5, must be a share"):
        fit(exact_frame(LINES), tolerance=5)
