"""A worker of plimsoll nats: answers in capitals. Usage: worker.py URL SUBJECT NAME"""
import asyncio, json, os, signal, sys, time, nats

URL, SERVICE, NAME = sys.argv[1], sys.argv[2].replace("%", "%25").replace(".", "%2E"), sys.argv[3]
above = int(os.environ.get("ABOVE", 0))  # a generation that is over
me = {"generation": max(time.time_ns(), above + 1), "number": 0, "epoch": 0, "seen": 0, "capacity": 4}
held, every, safe = {}, 0.25, 0  # leases with their costs; how often to beat; until when they are ours

async def main():
    server = await nats.connect(URL, max_reconnect_attempts=-1)

    async def run(message, lease, inbox):
        answer = message.data.upper()  # the work
        while not server.is_connected:  # what is published meanwhile is sent however late
            await asyncio.sleep(0.05)
        if time.monotonic_ns() < safe and held.pop(lease, None):
            if inbox:
                await server.publish(inbox, answer)
            await server.publish(message.reply)

    async def deliver(message):
        global every, safe
        epoch, what = int(message.subject.split(".")[4]), message.subject.split(".")[5]
        if epoch > me["epoch"]:
            me.update(epoch=epoch, seen=0)
        if what == "request":
            lease, *inbox = message.reply.split(f".done.{NAME}.")[1].split(".")
            cost = int((message.headers or {}).get("Plimsoll-Cost", 1))
            is_full = sum(held.values()) + cost > me["capacity"]
            if is_full or epoch < me["epoch"] or time.monotonic_ns() >= safe:
                return await server.publish(message.reply, b"refused")
            held[lease] = cost
            asyncio.create_task(run(message, lease, ".".join(inbox)))
        elif what == "beat" and epoch == me["epoch"]:
            answer = json.loads(message.data)
            me["seen"], every = answer["number"], answer["every_ms"] / 1000
            safe = max(safe, answer["beat"] + answer["lost_after_ms"] * 900_000)
        elif what == "gone" and epoch == me["epoch"]:  # given up: begin anew
            os.environ["ABOVE"] = message.data.decode()
            os.execv(sys.executable, [sys.executable, *sys.argv])

    async def beat():
        if time.monotonic_ns() >= safe:
            held.clear()  # others may have it by now
        me["number"] = time.monotonic_ns()  # so that the answer to it tells when it was sent
        if server.is_connected:
            text = json.dumps({**me, "leases": list(held.items())})
            await server.publish(f"plimsoll.{SERVICE}.done.{NAME}.beat", text.encode())
        await asyncio.sleep(every)

    await server.subscribe(f"plimsoll.{SERVICE}.{NAME}.{me['generation']}.>", cb=deliver)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: me.update(capacity=0))
    while me["capacity"] or held:
        await beat()
    await beat()  # now the balancer knows that nothing more is taken
    await server.publish(f"plimsoll.{SERVICE}.done.{NAME}.leave")
    await server.drain()

asyncio.run(main())
