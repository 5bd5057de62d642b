"""A worker of plimsoll nats: answers in capitals. Usage: worker.py URL SUBJECT NAME"""

import asyncio, json, sys, time
import nats

URL, SUBJECT, NAME = sys.argv[1:]
CAPACITY = 4
SERVICE = SUBJECT.replace("%", "%25").replace(".", "%2E")
DONE = f"plimsoll.{SERVICE}.done.{NAME}"
held = {}  # lease -> cost
me = {"generation": time.time_ns(), "number": 0, "epoch": 0, "seen": 0, "capacity": CAPACITY}
sent, safe, every = {}, 0.0, 0.25  # when beats were sent; until when nobody gives us up


async def main():
    server = await nats.connect(URL)

    async def run(message, lease, inbox):
        answer = message.data.upper()  # the work
        if time.monotonic() < safe and held.pop(lease, None):
            if inbox:
                await server.publish(inbox, answer)
            await server.publish(message.reply, b"")

    async def deliver(message):
        global safe, every
        _, _, _, generation, epoch, what = message.subject.split(".")
        if int(generation) != me["generation"] or int(epoch) < me["epoch"]:
            return await server.publish(message.reply, b"refused") if message.reply else None
        me["epoch"], me["seen"] = int(epoch), me["seen"] if int(epoch) == me["epoch"] else 0
        if what == "beat":
            answer = json.loads(message.data)
            me["seen"], every = answer["number"], answer["every_ms"] / 1000
            safe = sent.pop(answer["beat"], 0) + answer["lost_after_ms"] * 0.0009
        elif what == "gone":  # given up: nothing that runs is ours to answer any more
            held.clear()
            me.update(generation=time.time_ns(), number=0, seen=0)
            await server.subscribe(f"plimsoll.{SERVICE}.{NAME}.{me['generation']}.>", cb=deliver)
        else:
            cost = int((message.headers or {}).get("Plimsoll-Cost", 1))
            if time.monotonic() >= safe or sum(held.values()) + cost > CAPACITY:
                return await server.publish(message.reply, b"refused")
            lease, *inbox = message.reply.split(f".done.{NAME}.")[1].split(".")
            held[lease] = cost
            asyncio.create_task(run(message, lease, ".".join(inbox)))

    await server.subscribe(f"plimsoll.{SERVICE}.{NAME}.{me['generation']}.>", cb=deliver)
    while True:
        if time.monotonic() >= safe:
            held.clear()  # others may have it by now
        me["number"] += 1
        sent[me["number"]] = time.monotonic()
        await server.publish(f"{DONE}.beat", json.dumps({**me, "leases": list(held.items())}).encode())
        await asyncio.sleep(every)


asyncio.run(main())
