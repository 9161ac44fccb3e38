"""An erasure reaches the quarantine: the server's call, and a real quarantine behind a real port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

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
