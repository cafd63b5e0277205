"""Every audit passes the contract of all audits."""

import pytest

from byheart.audits import AUDITS, audit_class, make
from byheart.core.checks import check_audit
from byheart.core.toy import SuffixModel

LIGHT = {"output-distribution": {"samples": 6}}

# an audit of experts' routes cannot be asked of a model of n-grams, and gives no verdicts: it is
# held to what remains of the contract in tests/audits/test_pathways_audit.py
JUDGED = [n for n in sorted(AUDITS) if audit_class(n).needs <= SuffixModel.capabilities]


def test_only_pathways_is_held_elsewhere():
    assert set(AUDITS) - set(JUDGED) <= {"pathways"}


@pytest.mark.parametrize("name", JUDGED)
def test_contract_in_brief(name):
    measured = check_audit(make(name, **LIGHT.get(name, {})), seeds=12, power_seeds=5, n=16)
    assert measured.power == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", JUDGED)
def test_contract_in_full(name):
    check_audit(make(name, **LIGHT.get(name, {})), seeds=200, power_seeds=40)


def test_the_check_can_fail():
    """An audit that calls everything memorised must not pass."""
    from dataclasses import dataclass, replace

    from byheart.audits.verbatim import Verbatim

    @dataclass(frozen=True)
    class Alarmist(Verbatim):
        def findings(self, rows, *, seed=0):
            found = super().findings(rows, seed=seed)
            return [
                replace(f, p_value=1e-9, gap=type(f.gap)(1, 1, 1), no_verdict="") for f in found
            ]

        def planted(self, *, seed=0, n=24):
            p = super().planted(seed=seed, n=n)
            return replace(p, audit=Alarmist(**vars(p.audit)), held=Alarmist(**vars(p.held)))

    with pytest.raises(AssertionError, match="seen nothing"):
        check_audit(Alarmist(), seeds=12, power_seeds=2, n=8, default_material=False)
