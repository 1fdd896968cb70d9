"""Every probe has a knock-out that it must see (`make knockouts` runs them); what lacks one may only shrink."""

from knockouts.__main__ import KNOCKOUTS

from partywall.assurance.probes import PROBES

WITHOUT = frozenset()


def test_every_probe_has_a_knockout_and_every_knockout_a_probe():
    probes, caught = {probe.id for probe in PROBES}, {one.probe for one in KNOCKOUTS}
    assert caught <= probes
    assert probes - caught == WITHOUT


def test_names_are_unique_per_probe():
    pairs = [(one.name, one.probe) for one in KNOCKOUTS]
    assert len(pairs) == len(set(pairs))
