import pytest

from partywall.errors import Unavailable
from partywall.store.migrations import Migration, known, pending

ONE, TWO, THREE = (Migration(number, f"{number:04}_x.sql", str(number) * 64, "select 1") for number in (1, 2, 3))


def test_what_is_missing_is_applied_in_order():
    assert pending([ONE, TWO, THREE], {}) == [ONE, TWO, THREE]
    assert pending([ONE, TWO, THREE], {1: ONE.sha256}) == [TWO, THREE]
    assert pending([ONE], {1: ONE.sha256}) == []


def test_a_database_that_is_newer_than_the_code_is_left_alone():
    assert pending([ONE, TWO], {1: ONE.sha256, 2: TWO.sha256, 3: THREE.sha256, 9: "x"}) == []


def test_an_applied_file_that_changed_is_refused():
    with pytest.raises(Unavailable, match="changed"):
        pending([ONE, TWO], {1: "0" * 64})


def test_a_file_slipped_in_before_an_applied_one_is_refused():
    with pytest.raises(Unavailable, match="before"):
        pending([ONE, TWO, THREE], {1: ONE.sha256, 3: THREE.sha256})


@pytest.mark.parametrize("database", ["control", "data"])
def test_the_files_are_numbered_without_gaps(database):
    found = known(database)
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
