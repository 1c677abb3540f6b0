"""The clients of soak.py: each draws its next request by lot and checks every frame of the answer.

What it draws depends on the seed and on its own number only; what it is answered, on everybody.
"""
from __future__ import annotations

import collections
import os
import random
import re
import signal
import threading
import time
import traceback
from pathlib import Path

from callers import NOBODY
from llama_fixtures import assistant, endless, system, user, words
from recital import lines_of, recital
from wire import Conn, request

REQUESTS_A_SECOND = 200         # of one client: a bound, never reached
LOADS = (0.1, 0.5, 2.0)         # mean pause between a client's requests, in seconds, in turn
BAD = [{"grammar": "root ::= ("}, {"messages": []}, {"stop": [""]}, {"priority": "x"}, {"messages": [{"role": "user", "content": "word " * 9000}]}]
SHARED = [system("You help sailors. " + words(60)), system("You mix potions. " + words(250)), system("You watch the river. " + words(700))]


class Wrong(Exception):
    """Something that must not happen."""


def short(asked: dict) -> dict:
    """A request as it can be told."""
    return {**asked, "messages": [f"{m['role']}: {m['content'][:60]}" for m in asked["messages"]]}


class Client:
    """One connection at a time, one request after the other, until the time is over."""

    def __init__(self, path: Path, process: int, number: int, shared, told) -> None:
        self.path, self.shared, self.told = path, shared, told
        self.label = f"{process}.{number}"
        self.name = process * shared.clients + number + 1  # in recitals; nobody else has it
        self.dice = random.Random(f"{shared.seed} {self.label}")
        self.conn: Conn | None = None
        self.counts: collections.Counter = collections.Counter()
        self.asked = 0

    def run(self) -> None:
        most = int(self.shared.seconds * REQUESTS_A_SECOND)
        while time.monotonic() < self.shared.end and not self.shared.stop.is_set() and self.asked < most:
            phase = int((time.monotonic() - self.shared.begin) / self.shared.seconds * 4 * len(LOADS)) % len(LOADS)
            self.shared.stop.wait(min(self.dice.expovariate(1 / LOADS[phase]), self.shared.end - time.monotonic()))
            self.one_request()
        self.hang_up()

    def one_request(self) -> None:
        self.asked += 1
        kind = self.dice.choices([self.recital, self.grammar, self.free, self.talk, self.hanging_up, self.bad], [40, 8, 20, 10, 18, 4])[0]
        if self.conn is None:
            self.conn = Conn(self.path)
        kind()
        if self.conn is None or self.dice.random() > 0.3:
            return
        self.conn.half_close()
        if (line := self.conn.line()) is not None:
            raise Wrong(f"after the terminal frame of the last request came {line[:300]!r}")
        self.hang_up()

    def hang_up(self) -> None:
        if self.conn is not None:
            self.conn.close()
        self.conn = None

    def dressed(self, made: dict) -> dict:
        """The request with an id of its own and what the lot adds to any request."""
        made["id"] = f"{self.label}.{self.asked}"
        if self.dice.random() < 0.3:
            made["priority"] = "batch"
        if self.dice.random() < 0.3:
            made["progress"] = True
        if self.dice.random() < 0.15:
            made["stream"] = False
        return made

    def before(self) -> list[dict]:
        return [self.dice.choice(SHARED)] if self.dice.random() < 0.5 else []

    # kinds of requests

    def recital(self) -> None:
        text = lines_of(self.name, self.dice.choice([3, 5, 8]))
        asked = recital(text, *self.before(), max_tokens=80)
        done = self.answered(asked)
        if done is None:
            return
        self.counts["recitals"] += 1
        said = re.match(r"I am client (\d+)", done["content"])
        if said and int(said[1]) != self.name:
            raise Wrong(f"client {self.name} got another's answer: {done}")
        if done["content"] != text:
            self.told.put(("odd", (asked, text, done["content"])))

    def grammar(self) -> None:
        number = self.dice.randrange(10**6)
        done = self.answered(request(f"I am number {number}.", grammar=f'root ::= "number {number} says " [a-z]{{8}}', max_tokens=60))
        if done is not None and not re.fullmatch(rf"number {number} says [a-z]{{8}}", done["content"]):
            raise Wrong(f"the grammar of {number} did not hold: {done}")

    def free(self) -> None:
        text = f"{self.dice.randrange(10**6)} {words(self.dice.choice([1, 5, 20, 100, 400, 1200]))}"
        self.answered(request(messages=[*self.before(), user(text)], max_tokens=self.dice.choice([0, 1, 8, 48]), temperature=self.dice.choice([0, 1]),
                              seed=self.dice.randrange(1 << 32), stop=self.dice.choice([[], [" the"], ["\n", "."]])))

    def talk(self) -> None:
        messages = [*self.before(), user(f"I am {self.name}. {self.dice.randrange(10**6)}?")]
        for _ in range(self.dice.randrange(1, 5)):
            done = self.answered(request(messages=messages, max_tokens=12))
            if done is None or self.conn is None:
                return
            messages = [*messages, assistant(done["content"]), user("And then?")]
            self.asked += 1

    def bad(self) -> None:
        frame = self.terminal(self.dressed(request("x")) | self.dice.choice(BAD))
        if frame["type"] != "error" or frame["code"] not in ("invalid_request", *self.excuses()):
            raise Wrong(f"a bad request was answered: {frame}")
        self.counts[frame["code"]] += 1

    def hanging_up(self) -> None:
        asked = self.dressed(self.dice.choice([
            lambda: endless("", max_tokens=600),
            lambda: request(words(self.dice.choice([10, 500, 2500])), max_tokens=100),
            lambda: recital(lines_of(self.name), *self.before())])())
        self.sent = time.monotonic()
        self.conn.send(asked)
        end = self.sent + self.dice.choice([0, 0, self.dice.random() / 10, 3 * self.dice.random()])
        try:
            while (left := end - time.monotonic()) > 0:
                self.conn.sock.settimeout(left)
                if self.checked(asked, self.conn.frame())["type"] in ("done", "error"):
                    break
        except TimeoutError:
            pass
        self.counts["hung up"] += 1
        self.hang_up()

    # answers

    def answered(self, asked: dict) -> dict | None:
        """The `done` frame, or None where there is a good reason for an error."""
        frame = self.terminal(self.dressed(asked))
        if frame["type"] == "done":
            self.counts["done"] += 1
            return frame
        if frame["code"] not in self.excuses():
            raise Wrong(f"{short(asked)} failed: {frame}")
        self.counts[frame["code"]] += 1
        if frame["code"] == "queue_full":
            self.shared.stop.wait(0.5 * self.dice.random())
        return None

    def excuses(self) -> tuple[str, ...]:
        """The error codes that this request may get through no fault of its own."""
        killed = any(self.sent - 1 < at for at in self.shared.kills[:])  # since it was sent, or hardly before
        return ("queue_full", "backend_unavailable") if killed else ("queue_full",)

    def terminal(self, asked: dict) -> dict:
        """Sends, and checks all frames up to the terminal one."""
        self.sent = time.monotonic()
        self.conn.sock.settimeout(self.shared.stall)
        self.conn.send(asked)
        text, usage_bound = [], asked.get("max_tokens", 1000)
        while True:
            try:
                frame = self.checked(asked, self.conn.frame())
            except TimeoutError:
                raise Wrong(f"stuck: no frame for {self.shared.stall:.0f} s: {short(asked)}") from None
            if frame["type"] == "token":
                text.append(frame["content"])
            elif frame["type"] == "error":
                return frame
            elif frame["type"] == "done":
                usage = frame["usage"]
                if asked.get("stream", True) and frame["content"] != "".join(text):
                    raise Wrong(f"the tokens {text} are not the text of {frame}")
                if not usage["cached_prompt_tokens"] < usage["prompt_tokens"] or usage["completion_tokens"] > usage_bound:
                    raise Wrong(f"counts that cannot be: {frame}")
                if frame["stop_reason"] not in ("end", "length") or frame["backend"] != "llamacpp":
                    raise Wrong(f"an end that cannot be: {frame}")
                return frame

    def checked(self, asked: dict, frame: dict) -> dict:
        if frame["id"] != asked["id"]:
            raise Wrong(f"{asked['id']} got a frame of another request: {frame}")
        if frame["type"] == "status":
            self.counts["status frames"] += 1
            good = {"queued": lambda: frame["position"] >= 1, "prefill": lambda: 0 < frame["prompt_tokens_done"] <= frame["prompt_tokens"]}
            if not asked.get("progress") or not good[frame["status"]]():
                raise Wrong(f"a status that cannot be: {frame}")
        elif frame["type"] == "token" and not asked.get("stream", True):
            raise Wrong(f"a token without a stream: {frame}")
        elif frame["type"] not in ("token", "done", "error"):
            raise Wrong(f"a frame of no known type: {frame}")
        return frame


def client_process(path: Path, process: int, group: int | None, shared, told) -> None:
    """`shared`: what all know; `told`: a queue to the main process, which gets ("failed", text), ("odd", a wrong recital) and at last
    ("ended", counts)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if group is not None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(NOBODY)
    clients = [Client(path, process, number, shared, told) for number in range(shared.clients)]

    def go(client: Client) -> None:
        try:
            client.run()
        except Wrong as wrong:
            told.put(("failed", f"client {client.label}: {wrong}"))
        except Exception:
            told.put(("failed", f"client {client.label}: {traceback.format_exc()}"))

    threads = [threading.Thread(target=go, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(("ended", sum((client.counts for client in clients), collections.Counter(requests=sum(c.asked for c in clients)))))
