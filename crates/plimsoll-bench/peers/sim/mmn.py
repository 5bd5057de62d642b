"""M/M/n in SimPy, as its documentation would have it: a Resource of n places.

Usage: mmn.py WORKERS LOAD REQUESTS. Prints events a second (an arrival and an end
each) and the mean response time.
"""
import random
import sys
import time

import simpy

workers, load, requests = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
draw = random.Random(1).expovariate
responses = []


def request(env, pool):
    arrived = env.now
    with pool.request() as turn:
        yield turn
        yield env.timeout(draw(1.0))
    responses.append(env.now - arrived)


def source(env, pool):
    for _ in range(requests):
        yield env.timeout(draw(workers * load))
        env.process(request(env, pool))


env = simpy.Environment()
env.process(source(env, simpy.Resource(env, capacity=workers)))
begun = time.perf_counter()
env.run()
seconds = time.perf_counter() - begun
print(2 * requests / seconds, sum(responses) / len(responses))
