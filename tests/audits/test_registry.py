"""Which audits run where none is named."""

import pytest

from byheart.auditing import build_audits
from byheart.audits import AUDITS, DEFAULT
from byheart.core.errors import UnknownName


def test_without_names_the_quick_ones_run_and_all_is_every_one():
    assert [a.name for a in build_audits(None, {}, {})] == list(DEFAULT)
    assert set(DEFAULT) < set(AUDITS)
    for every in ("all", ["all"]):
        assert [a.name for a in build_audits(every, {}, {})] == sorted(AUDITS)
    assert [a.name for a in build_audits("wilt", {}, {})] == ["wilt"]


def test_all_is_no_audit_beside_others():
    with pytest.raises(UnknownName, match="all"):
        build_audits(["verbatim", "all"], {}, {})
