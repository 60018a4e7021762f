"""Drives the stock Python client: reads orders as JSON lines, prints what the client saw as JSON lines.

The orders and what is seen are those of client.mjs, which says what they mean.
"""

import asyncio
import json
import logging
import sys
from dataclasses import dataclass, field

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient


@dataclass
class User:
    client: AsyncRealtimeClient
    channels: dict[str, AsyncRealtimeChannel] = field(default_factory=dict)
    joins: list[asyncio.Task] = field(default_factory=list)


users: dict[str, User] = {}


def say(**seen) -> None:
    print(json.dumps(seen), flush=True)


async def connect(to: dict) -> None:
    client = AsyncRealtimeClient(f"{to['url']}/realtime/v1", to["key"])
    users[to["as"]] = User(client)
    if to.get("token"):
        await client.set_auth(to["token"])


async def authorize(to: dict) -> None:
    await users[to["as"]].client.set_auth(to["token"])


async def subscribe(to: dict) -> None:
    user, whose, topic = users[to["as"]], to["as"], to["topic"]

    def tell(kind: str, **seen) -> None:
        say(**{"as": whose}, topic=topic, kind=kind, **seen)

    config = {"broadcast": {"ack": False, "self": False}, "presence": {"key": "", "enabled": False}, "private": False}
    channel = user.client.channel(topic, {"config": config | to.get("config", {})})
    user.channels[topic] = channel

    def listen(index: int, binding: dict) -> None:
        def changed(payload: dict) -> None:
            data = payload["data"]
            tell(
                "change",
                binding=index,
                type=data["type"].value,
                schema=data["schema"],
                table=data["table"],
                commit_timestamp=data["commit_timestamp"],
                new=data.get("record") or {},
                old=data.get("old_record") or {},
                errors=data["errors"],
            )

        others = {name: binding[name] for name in ("schema", "table", "filter", "select") if name in binding}
        channel.on_postgres_changes(binding["event"], changed, **others)

    for index, binding in enumerate(to.get("changes", [])):
        listen(index, binding)
    channel.on_broadcast("*", lambda seen: tell("broadcast", event=seen["event"], payload=seen["payload"]))
    if to.get("presence"):
        channel.on_presence_sync(lambda: tell("presence", event="sync", state=channel.presence_state()))
        channel.on_presence_join(lambda key, _, new: tell("presence", event="join", key=key, metas=new))
        channel.on_presence_leave(lambda key, _, left: tell("presence", event="leave", key=key, metas=left))
    channel.on_system(
        lambda seen: tell("system", extension=seen.extension, status=seen.status, message=seen.message)
    )

    async def join() -> None:
        try:
            await channel.subscribe(
                lambda status, error: tell("status", status=status.value, error=str(error) if error else None)
            )
        except Exception as error:
            tell("status", status="CHANNEL_ERROR", error=str(error))

    # It waits for the join's reply, which is somebody else's line.
    user.joins.append(asyncio.create_task(join()))


async def send(to: dict) -> str:
    await channel_of(to).send_broadcast(to["event"], to["payload"])
    return "ok"


async def open(to: dict) -> None:
    user = users[to["as"]]
    user.channels[to["topic"]] = user.client.channel(to["topic"], {"config": to["config"]})


async def http_send(to: dict) -> dict:
    payload = bytes(to["bytes"]) if "bytes" in to else to["payload"]
    await channel_of(to).http_send(to["event"], payload)
    return {"success": True}


async def track(to: dict) -> str:
    await channel_of(to).track(to["payload"])
    return "ok"


async def untrack(to: dict) -> str:
    await channel_of(to).untrack()
    return "ok"


async def leave(to: dict) -> None:
    await users[to["as"]].client.remove_channel(channel_of(to))


async def disconnect(to: dict) -> None:
    await users[to["as"]].client.close()


def channel_of(to: dict) -> AsyncRealtimeChannel:
    return users[to["as"]].channels[to["topic"]]


orders = {order.__name__: order for order in (connect, authorize, subscribe, open, send, http_send, track, untrack, leave, disconnect)}


async def obey(to: dict) -> None:
    try:
        say(kind="done", order=to["order"], result=await orders[to["do"]](to))
    except Exception as error:
        say(kind="done", order=to["order"], error=repr(error))


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say(kind="ready")
    tasks = set()
    while line := await lines.readline():
        task = asyncio.create_task(obey(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
