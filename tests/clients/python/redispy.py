"""What applications do with redis-py, as Debian has it. Run by a Go test: redispy.py ADDRESS server|proxy."""

import sys
import threading
import time

import redis

host, port = sys.argv[1].split(":")
proxied = sys.argv[2] == "proxy"
pool = redis.ConnectionPool(host=host, port=int(port), decode_responses=True)
r = redis.Redis(connection_pool=pool)


def equal(got, want, what=""):
    assert got == want, f"{what}: {got!r}, want {want!r}"


def raises(error, f, text=""):
    try:
        f()
    except error as e:
        assert text in str(e), f"{e!r} without {text!r}"
        return
    raise AssertionError(f"no {error.__name__}")


def types():
    assert r.set("k", "v", ex=100, nx=True)
    equal(r.set("k", "w", nx=True), None)
    assert 90 < r.ttl("k") <= 100
    equal(r.getset("k", "x"), "v")
    equal(r.hset("h", mapping={"a": 1, "b": "zwei", "c": 3.5}), 3)
    equal(r.hgetall("h"), {"a": "1", "b": "zwei", "c": "3.5"})
    equal(r.rpush("l", *range(10)), 10)
    equal(r.lrange("l", -3, -1), ["7", "8", "9"])
    equal(r.lpos("l", "4"), 4)
    equal(r.sadd("s", "a", "b"), 2)
    equal(r.smembers("s"), {"a", "b"})
    equal(r.zadd("z", {"one": 1, "two": 2.5, "inf": float("inf")}), 3)
    equal(r.zrange("z", 0, -1, withscores=True), [("one", 1.0), ("two", 2.5), ("inf", float("inf"))])
    equal(r.zincrby("z", 2, "one"), 3.0)
    equal(r.zrangebyscore("z", "(2.5", "+inf", start=0, num=1), ["one"])
    equal(r.pfadd("p", *range(100)), 1)
    assert 95 <= r.pfcount("p") <= 105
    equal(r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")), 2)
    equal(r.geodist("g", "Palermo", "Catania", "km"), 166.2742)
    equal(r.bitfield("bits").set("u8", 0, 200).incrby("u8", 0, 100, overflow="SAT").execute(), [0, 255])
    equal(r.sort("l", desc=True, start=0, num=2), ["9", "8"])
    equal(r.type("z"), "zset")
    raw = redis.Redis(host=host, port=int(port))
    assert raw.restore("h2", 0, raw.dump("h"))
    equal(r.hgetall("h2"), r.hgetall("h"))
    raises(redis.ResponseError, lambda: r.incr("h"), "WRONGTYPE")
    data = bytes(range(256))
    raw.set(data, data)
    equal(raw.get(data), data)


def pipelines():
    with r.pipeline(transaction=False) as p:
        for i in range(1000):
            p.set(f"p:{i}", i)
        p.get("p:999")
        equal(p.execute()[-1], "999")
    with r.pipeline() as p:
        p.hset("{t}h", "f", 1).hincrby("{t}h", "f", 4).expire("{t}h", 100)
        equal(p.execute(), [1, 5, True])
        p.set("{t}x", "a").incr("{t}x").get("{t}x")
        raises(redis.ResponseError, p.execute, "not an integer")
        p.set("{t}x", "a").incr("{t}x").get("{t}x")
        equal(p.execute(raise_on_error=False)[2], "a")

    def count(p):
        n = int(p.get("{t}n") or 0)
        p.multi()
        p.set("{t}n", n + 1)

    threads = [threading.Thread(target=lambda: [r.transaction(count, "{t}n") for _ in range(20)]) for _ in range(5)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(r.get("{t}n"), "100")


def locks():
    n = 0

    def work():
        nonlocal n
        for _ in range(10):
            with r.lock("lock", timeout=30, sleep=0.005):
                m = n
                time.sleep(0.0005)
                n = m + 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(n, 60)
    dead = r.lock("lock", timeout=0.2)
    assert dead.acquire()
    heir = r.lock("lock", timeout=30, blocking_timeout=20, sleep=0.01)
    assert heir.acquire() and heir.owned() and not dead.owned()
    raises(redis.exceptions.LockError, dead.release)
    assert heir.extend(10) and heir.reacquire()
    heir.release()
    raises(redis.exceptions.LockError, heir.release)


def pubsub():
    s = r.pubsub()
    s.subscribe("news")
    s.psubscribe("n*")
    for _ in range(2):
        assert s.get_message(timeout=20)["type"] in ("subscribe", "psubscribe")
    for i in range(50):
        equal(r.publish("news", i), 2)
    got = [s.get_message(timeout=20) for _ in range(100)]
    for kind in ("message", "pmessage"):
        equal([m["data"] for m in got if m["type"] == kind], [str(i) for i in range(50)])
    heard = threading.Event()
    t = r.pubsub()
    t.subscribe(**{"other": lambda m: heard.set()})
    thread = t.run_in_thread(sleep_time=0.01)
    while not heard.wait(0.01):
        r.publish("other", "x")
    thread.stop()
    thread.join()
    s.close()


def streams():
    ids = [r.xadd("s", {"n": i}) for i in range(100)]
    equal(r.xlen("s"), 100)
    equal([i for i, _ in r.xrange("s", count=3)], ids[:3])
    assert r.xgroup_create("s", "g", id="0")
    first = r.xreadgroup("g", "a", {"s": ">"}, count=60)
    equal([i for i, _ in first[0][1]], ids[:60])
    equal(r.xack("s", "g", *ids[:50]), 50)
    equal(r.xpending("s", "g")["pending"], 10)
    _, claimed = r.xautoclaim("s", "g", "b", min_idle_time=0, count=100)[:2]
    equal([i for i, _ in claimed], ids[50:60])
    equal(len(r.xreadgroup("g", "b", {"s": ">"})[0][1]), 40)
    equal(r.xinfo_groups("s")[0]["consumers"], 2)
    equal(r.xtrim("s", maxlen=10, approximate=False), 90)
    waiting = []
    t = threading.Thread(target=lambda: waiting.append(r.xread({"s": "$"}, block=20000)))
    t.start()
    while not waiting:
        r.xadd("s", {"n": "late"})
        time.sleep(0.01)
    t.join()
    equal(waiting[0][0][1][0][1], {"n": "late"})


def scans():
    with r.pipeline(transaction=False) as p:
        for i in range(2000):
            p.set(f"s:{i}", i).hset("h", f"f{i}", i).sadd("set", i).zadd("z", {f"m{i}": i})
        p.execute()
    equal(len(set(r.scan_iter("s:*", count=300))), 2000)
    equal(list(r.scan_iter(_type="zset", count=500)), ["z"])
    equal(len(dict(r.hscan_iter("h", count=300))), 2000)
    equal(len(set(r.sscan_iter("set", "1*", count=300))), 1111)
    equal(dict(r.zscan_iter("z", count=300))["m77"], 77.0)


def scripts():
    add = r.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    equal(add(keys=["n"], args=[3]), 3)
    r.script_flush()
    equal(add(keys=["n"], args=[4]), 7)
    with r.pipeline() as p:
        add(keys=["n"], args=[1], client=p)
        p.get("n")
        equal(p.execute(), [8, "8"])
    raises(redis.exceptions.NoScriptError, lambda: r.evalsha("0" * 40, 0))
    if not proxied:
        r.function_load("#!lua name=lib\nredis.register_function('twice', function(k, a) return a[1] * 2 end)", replace=True)
        equal(r.fcall("twice", 0, 21), 42)


def blocking():
    got = []
    threads = [threading.Thread(target=lambda: got.append(r.blpop(["{q}a", "{q}b"], timeout=20)[1])) for _ in range(5)]
    [t.start() for t in threads]
    for i in range(5):
        r.rpush("{q}b", i)
    [t.join() for t in threads]
    equal(sorted(got), ["0", "1", "2", "3", "4"])
    equal(r.brpop("{q}a", timeout=1), None)
    r.zadd("{q}z", {"a": 1})
    equal(r.bzpopmin("{q}z"), ("{q}z", "a", 1.0))


def server():
    assert r.ping()
    assert r.info()["redis_version"]
    assert r.time()[0] > 1600000000
    r.client_setname("python")
    equal(r.client_getname(), "python")
    assert any(c["name"] == "python" for c in r.client_list())
    assert r.command_count() > 200
    if not proxied:
        assert "maxmemory" in r.config_get("max*") or r.config_get("maxclients")
        assert r.memory_usage("none") is None
        equal(r.acl_whoami(), "default")
        assert isinstance(r.slowlog_get(5), list)
        equal(r.role()[0], "master")
        with r.monitor() as m:
            r.set("monitored", 1)
            assert any("monitored" in next(iter(m.listen()))["command"] for _ in range(50))


for part in (types, pipelines, locks, pubsub, streams, scans, scripts, blocking, server):
    began = time.time()
    r.flushall()
    part()
    print(f"ok {part.__name__} ({int((time.time() - began) * 1000)} ms)", flush=True)
