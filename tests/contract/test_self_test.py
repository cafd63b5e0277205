"""The self-test's plantings: enough items for a verdict, and no twin asked twice."""

import pytest

from byheart.audits import AUDITS, audit_class, make
from byheart.core.drive import drive
from byheart.core.journal import Journal
from byheart.core.report import Report
from byheart.core.toy import SuffixModel
from byheart.selftest import _contrasts, _light

# pathways judges nothing, and needs routers
JUDGED = [n for n in sorted(AUDITS) if audit_class(n).needs <= SuffixModel.capabilities]


@pytest.mark.parametrize("seed", [17, 18, 19])
@pytest.mark.parametrize("name", JUDGED)
def test_the_items_of_the_self_test_are_enough_for_a_verdict(name, seed):
    audit = _light(make(name))
    planting = audit.planted(seed=seed, n=audit.self_test_items)
    model = SuffixModel(planting.texts)
    verdicts = {}
    for arm, some in (("planted", planting.audit), ("held", planting.held)):
        found = Report.of("m", some.findings(drive(some, model, seed=1), seed=1)).findings
        verdicts[arm] = {f.verdict() for f in found if not f.exploratory}
    assert "memorised" in verdicts["planted"]
    assert "memorised" not in verdicts["held"]


@pytest.mark.parametrize("name", JUDGED)
def test_twins_shared_by_planted_and_held_back_items_are_asked_once(name):
    audit = _light(make(name))
    planting = audit.planted(seed=5, n=audit.self_test_items)
    model = SuffixModel(planting.texts)
    asked: list[str] = []
    real = type(planting.audit).ask

    def counted(self, probe, facts):
        asked.append(probe.id)
        return real(self, probe, facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(planting.audit), "ask", counted)
        found = _contrasts(model, planting, 5, Journal(None), None, "self-test")
    n_fresh = sum(p.arm == "fresh" for p in planting.audit.probes(seed=5))
    n_seen = sum(p.arm == "seen" for p in planting.audit.probes(seed=5))
    assert len(asked) == 2 * (2 * n_seen + n_fresh)  # once for its cost, once to be answered
    for some, mine in zip((planting.audit, planting.held), found, strict=True):
        plain = some.findings(drive(some, model, seed=5), seed=5)
        assert [(f.name, f.seen, f.fresh, f.gap, f.p_value) for f in mine] == [
            (f.name, f.seen, f.fresh, f.gap, f.p_value) for f in plain
        ]
