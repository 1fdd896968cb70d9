"""One exchange with a tool server: what goes wrong before anything is sent is the server's fault, not ours."""

import pytest

from partywall.errors import ProviderFault
from partywall.providers.tools.exchange import UNREACHABLE, Exchange
from partywall.reach import Reach


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999/", "http:///", "http://%00/", "https://xn--/"])
async def test_an_address_that_means_no_host_is_out_of_reach(url):
    exchange = Exchange(limit_bytes=1_000, reach=Reach(loopback=True))
    with pytest.raises(ProviderFault) as caught:
        await exchange.post(url, b"{}", {}, owner="a", request_id=1, timeout_s=1.0)
    assert caught.value.code == UNREACHABLE
    await exchange.close()
