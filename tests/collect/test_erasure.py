"""An erasure reaches the quarantine: the server's call, and a real quarantine behind a real port."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import grpc.aio
import pytest

from rte.v1.collector_service_pb2_grpc import add_CollectorServiceServicer_to_server
from rte_collect.app import Collectors
from rte_collect.intake import Intake
from rte_collect.keeper import Keeper
from rte_collect.protocol import Raw
from rte_collect.quarantine import Bounds, Kept, Quarantine
from rte_collect.quarantine_service import QuarantineService
from rte_server.service.collector_service import CollectorService

PERSON = "zoë@example.org"


def kept(document: str) -> Kept:
    """Return a refused event."""
    return Kept(0, "segment", Raw(document.encode(), {}), "MALFORMED", "", "", 0, None)


def is_held(folder: Path, text: bytes) -> bool:
    """Return whether a file of a folder has the text in it."""
    return any(text in path.read_bytes() for path in folder.iterdir())


@asynccontextmanager
async def serving(quarantine: Quarantine) -> AsyncIterator[CollectorService]:
    """Serve a quarantine for the time of a block, and yield what the server reaches it by."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    nobody = grpc.aio.insecure_channel("127.0.0.1:1")
    keeper = Keeper(quarantine, Intake(nobody, 100), Collectors.of("", ()).by_name())
    add_CollectorServiceServicer_to_server(QuarantineService(keeper), server)
    await server.start()
    collectors = CollectorService()
    collectors.connect(f"127.0.0.1:{port}")
    try:
        yield collectors
    finally:
        await collectors.close()
        await nobody.close()
        await server.stop(0)
        keeper.close()


async def test_however_an_id_is_written(tmp_path: Path) -> None:
    """Events that name the person leave as text, in escaped JSON and in an address; those that name others stay."""
    named = [
        json.dumps({"userId": PERSON}),
        json.dumps({"userId": PERSON}, ensure_ascii=False),
        "?uid=zo%C3%AB%40example.org&e=pv",
    ]
    others = [json.dumps({"userId": f"x{PERSON}"}), json.dumps({"userId": "zoe@example.org"}), "?uid=zo%C3%AB"]
    quarantine = Quarantine(str(tmp_path / "quarantine.sqlite"), Bounds(), lambda: 0)
    quarantine.add([kept(each) for each in (*named, *others)])
    async with serving(quarantine) as collectors:
        await collectors.drop_naming((PERSON, "v-1"))
        assert [each.raw.document.decode() for each in quarantine.page(0, 10)] == others


@pytest.mark.parametrize("shift", range(3))
async def test_an_id_that_is_packed(tmp_path: Path, shift: int) -> None:
    """Events leave that name the person in base64 of either alphabet, in JSON or in an address, wherever in the text it begins."""
    # With letters whose base64 has the characters in which the alphabets differ.
    content = json.dumps({"u": "ÿ>~?" + "x" * shift, "user_id": PERSON}, ensure_ascii=False).encode()
    usual, url = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    other = base64.b64encode(json.dumps({"user_id": f"x{PERSON}"}).encode()).decode()
    assert usual != url
    named = [
        json.dumps({"e": "ue", "ue_px": url.rstrip("=")}),
        json.dumps({"data_base64": usual}),
        json.dumps({"data_base64": usual}).replace("/", "\\/"),
        f"?e=ue&ue_px={quote(usual, safe='')}&p=web",
        f"?e=ue&ue_px={url}",
    ]
    others = [
        json.dumps({"ue_px": other}),
        "?e=ue&ue_px=!",
        json.dumps({"word": "somebody", "data_base64": "/////w=="}),
    ]
    quarantine = Quarantine(str(tmp_path / "quarantine.sqlite"), Bounds(), lambda: 0)
    quarantine.add([kept(each) for each in (*named, *others)])
    async with serving(quarantine) as collectors:
        await collectors.drop_naming((PERSON,))
        assert [each.raw.document.decode() for each in quarantine.page(0, 10)] == others


async def test_what_left_by_itself_is_in_no_file(tmp_path: Path) -> None:
    """An event that had to make room is in no file after an erasure, though there is nothing to drop any more."""
    quarantine = Quarantine(str(tmp_path / "quarantine.sqlite"), Bounds(events_max=1), lambda: 0)
    quarantine.add([kept(json.dumps({"userId": "a-secret-of-somebody"}))])
    assert is_held(tmp_path, b"a-secret")
    quarantine.add([kept("{}")])
    async with serving(quarantine) as collectors:
        await collectors.drop_naming(("a-secret-of-somebody",))
        assert not is_held(tmp_path, b"a-secret")
        assert quarantine.count == 1
