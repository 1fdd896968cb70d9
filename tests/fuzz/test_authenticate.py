"""Whatever bytes arrive as a credential, the answer is a principal or Unauthenticated: nothing else."""

import base64

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.credentials import World

WORLD = World()
segments = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")),
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)).map(
        lambda value: base64.urlsafe_b64encode(repr(value).encode()).decode().rstrip("=")
    ),
)


@settings(max_examples=600, deadline=None)
@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(segments, min_size=1, max_size=5).map(".".join),
        st.text(max_size=80).map(lambda text: "pw_" + text),
    )
)
@example("\ud800")
@example("pw_" + "\u0661" * 26 + "_" + "a" * 43)
@example("." * 4096)
def test_any_text(text):
    WORLD.refuses(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_under_the_right_signature(data, as_header):
    """Past the signature too: a broken issuer's token is refused, and breaks nothing."""
    good = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}').decode().rstrip("=")
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    signed = f"{text}.{good}" if as_header else f"{good}.{text}"
    signature = base64.urlsafe_b64encode(WORLD.signing.sign(signed.encode())).decode().rstrip("=")
    WORLD.refuses(f"{signed}.{signature}")
