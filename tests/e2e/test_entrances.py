"""AccessEndpoints on the real gateway: users of such a stack come through its endpoints' networks, and from nowhere else."""

from collections.abc import Callable, Iterator

import aiohttp
import pytest
from yarl import URL

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.conftest import LAB, OFFICE, RUN_NUMBER
from e2e.hands import PAGE, Hand, hand_of, streaming
from e2e.installation import Installation
from e2e.remote_networks import RemoteNetwork, remote_network

pytestmark = pytest.mark.incus


@pytest.fixture
def office(installation: Installation) -> Iterator[RemoteNetwork]:
    with remote_network(f"floff{RUN_NUMBER}", OFFICE, installation.portal_port) as made:
        yield made


@pytest.fixture
def lab(installation: Installation) -> Iterator[RemoteNetwork]:
    with remote_network(f"fllab{RUN_NUMBER}", LAB, installation.portal_port) as made:
        yield made


@pytest.fixture
def guarded(fleet: str, administrator: Administrator) -> Iterator[str]:
    """The shared fleet behind the office's endpoint."""
    endpoints = [{"EndpointType": "STREAMING", "VpceId": "vpce-e2e-office"}]
    administrator.client.update_stack(Name=fleet, AccessEndpoints=endpoints)
    yield fleet
    administrator.client.update_stack(Name=fleet, AttributesToDelete=["ACCESS_ENDPOINTS"])


async def test_a_stack_with_an_endpoint_streams_to_its_network_and_to_no_other(
    guarded: str, office: RemoteNetwork, lab: RemoteNetwork, administrator: Administrator
) -> None:
    link = administrator.url(guarded, "entrance-ada", "text-editor")
    async with hand_of(link, office.connector()) as ada:
        await ada.begin("text-editor")
        async with streaming(ada):
            assert await ada.upload("plan.txt", b"a plan") == 200
            await is_refused_everything(link, ada, lab.connector())
            # From this machine itself, which is no more the office than the lab is.
            await is_refused_everything(link, ada, aiohttp.TCPConnector())
            await ada.settles()  # and hers goes on
    assert len(administrator.sessions(guarded)) == 1


async def is_refused_everything(link: str, owner: Hand, connector: aiohttp.BaseConnector) -> None:
    """Somebody elsewhere has link and cookies of the session's owner, and gets no further than that."""
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({cookie.key: cookie.value for cookie in owner.http.cookie_jar}, response_url=_url(owner))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as http:
        eve = Hand(http, owner.page)
        async with http.get(link, headers={"Sec-Fetch-Mode": "navigate"}) as answer:
            assert (answer.status, "does not open from here" in await answer.text()) == (403, True)
        status, refusal = await eve.call("POST", "open", {"applicationId": "text-editor"})
        assert (status, refusal["code"]) == (403, "NOT_FROM_HERE")
        for path in ("api/state", "api/files?folder=", "stream/api/files/plan.txt"):
            async with http.get(f"{eve.page}{path}", headers=PAGE) as answer:
                assert (answer.status, (await answer.json())["code"]) == (403, "NOT_FROM_HERE"), path
        assert await eve.upload("mine.txt", b"x") == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{eve.page}stream/api/websockets", headers={"Origin": eve.origin})
        assert refused.value.status == 403


def _url(hand: Hand) -> URL:
    return URL(hand.page)


@pytest.mark.browser
def test_the_browser_says_that_a_link_does_not_open_from_here(
    guarded: str, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    ada = new_visitor()
    ada.open(administrator.url(guarded, "entrance-bob", "text-editor"))
    ada.page.wait_for_load_state()
    assert "This link does not open from here" in ada.words()
    assert administrator.sessions(guarded) == []
