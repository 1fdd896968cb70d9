"""An exchange gives at most what was shown for it: of scopes and of time, of everyone who stands behind it."""

from hypothesis import given
from hypothesis import strategies as st

from partywall.control.caller import Credential
from partywall.control.narrowing import narrow_exchange
from partywall.decision.action import ActionType
from partywall.errors import Denied

scopes = st.none() | st.lists(st.sampled_from([action.value for action in ActionType]), unique=True, max_size=6)
times = st.floats(min_value=0, max_value=1e10)


@st.composite
def credentials(draw):
    return Credential(
        id="asr_x", scopes=draw(scopes), on_behalf_of=None, session=None, expires_at_s=draw(times), lineage=("asr_x",)
    )


def within(given_scopes, bound):
    return bound is None or (given_scopes is not None and set(given_scopes) <= set(bound))


@given(scopes, credentials(), st.none() | credentials(), times)
def test_it_only_narrows(wanted, acting, user, limit_s):
    shown = [acting] if user is None else [acting, user]
    try:
        got, ends_at_s = narrow_exchange(wanted, acting, user, limit_s=limit_s)
    except Denied:
        assert wanted is not None, "without a wish there is nothing to deny"
        assert not all(within(wanted, one.scopes) for one in shown)
        return
    assert all(within(got, one.scopes) for one in shown)
    assert within(got, wanted)
    assert ends_at_s <= min(limit_s, *(one.expires_at_s for one in shown))


@given(scopes, credentials(), credentials(), times)
def test_a_second_exchange_gives_no_more_than_the_first(wanted, acting, user, limit_s):
    try:
        first, first_ends_at_s = narrow_exchange(wanted, acting, user, limit_s=limit_s)
        held = Credential(
            id="tok_x", scopes=first, on_behalf_of=None, session=None, expires_at_s=first_ends_at_s, lineage=("tok_x",)
        )
        second, second_ends_at_s = narrow_exchange(None, held, None, limit_s=limit_s + 900)
    except Denied:
        return
    assert within(second, first)
    assert second_ends_at_s <= first_ends_at_s
