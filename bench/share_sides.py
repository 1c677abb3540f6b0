"""The sides that share_bench.py compares, and streams that run beside what is measured. Standard library only."""

import contextlib
import time

import harness
import lib

# The one configuration of inferd; a row that must change an option says so, and every command line is printed.
CONFIGURATION = {"--active-permits": 16, "--queue-depth": 64, "--kv-cells": 16384, "--n-ctx": 8192}
CELLS, SLOTS = 16384, 8  # of llama-server
STREAM_TOKENS = 1400  # 8 such streams leave 4,900 cells free
WARM_TOKENS = 5  # a stream counts as running from here on
START_SECONDS = 60


class Bench(harness.Harness):
    def inferd(self, changes=None, for_others=False):
        """The daemon with the one configuration, but for `changes`; ready."""
        options = {**CONFIGURATION, **(changes or {})}
        words = [str(part) for pair in options.items() for part in pair]
        return self.warm(self.daemon(*words, for_others=for_others))

    def llama_server(self, unified):
        more = ["--kv-unified"] if unified else []
        server = self.server(SLOTS, CELLS, *more)
        server.name = " ".join(["llama-server", *more])
        return self.warm(server)

    def warm(self, side):
        try:
            side.wait_ready()
            self.ask(side, self.prompts.story(), 8)
        except BaseException:
            side.stop()
            raise
        return side

    @contextlib.contextmanager
    def sides(self):
        """inferd and both kinds of llama-server, each ready and warm; they take turns, and who is not asked is idle."""
        with contextlib.ExitStack() as stack:
            sides = [stack.enter_context(self.inferd())]
            sides += [stack.enter_context(self.llama_server(unified)) for unified in (False, True)]
            self.same_variant(*sides[:2])
            yield sides

    def in_turn(self, sides, number):
        """Another side begins in each round."""
        first = number % len(sides)
        return sides[first:] + sides[:first]


def medians(rounds):
    """[{side: figure}] -> {side: median}, for those who have one in each round."""
    return {side: lib.median(r[side] for r in rounds) for side in rounds[0]}


def better_peer(figures, best=max, among="llama-server"):
    """The name and figure of the better llama-server (or llama-batched-bench)."""
    peers = {side: value for side, value in figures.items() if side.startswith(among)}
    name = best(peers, key=peers.get)
    return name, peers[name]


def spelled(figures, form="{:.1f}"):
    return ", ".join(f"{side} {form.format(value)}" for side, value in figures.items())


# ---------------------------------------------------------------- streams beside what is measured


class Crowd:
    """Streams that go on beside what is measured: each that ends is followed by another with a new prompt."""

    def __init__(self, bench, side, loop, size, max_tokens=STREAM_TOKENS, running=None, asked=()):
        """`running`: how many of them run at once, if the others wait. `asked`: what the first ones ask."""
        self.bench, self.side, self.loop, self.max_tokens = bench, side, loop, max_tokens
        self.streams, self.ended = [], 0
        for n in range(size):
            self.start_one(asked[n] if n < len(asked) else bench.prompts.story())
        warm = running or size
        loop.run(until=time.monotonic() + START_SECONDS, done=lambda: self.count_running() >= warm)
        if self.count_running() < warm:
            lib.fail(f"{self.count_running()} of {warm} streams run after {START_SECONDS} s")

    def start_one(self, messages):
        stream = self.side.stream(messages, self.max_tokens)
        stream.messages = messages
        self.streams.append(stream)
        self.loop.start(stream, self.follow)

    def follow(self, stream):
        stream.close()
        self.ended += 1
        self.start_one(self.bench.prompts.story())

    def count_running(self):
        return sum(len(stream.parts) >= WARM_TOKENS for stream in self.streams if stream in self.loop.open)

    def lasting(self):
        """What those asked whose answers go on."""
        return [stream.messages for stream in self.streams if stream in self.loop.open]

    def close(self):
        for stream in self.streams:
            self.loop.forget(stream)
            stream.close()

    def gaps(self):
        """(begin, end) of each gap between two tokens of a stream; after close()."""
        found = []
        for stream in self.streams:
            times = self.side.token_times(stream)
            found += zip(times, times[1:])
        return found


def within(gaps, begin, end):
    """Milliseconds of the gaps that lie in this time."""
    return [(to - at) * 1e3 for at, to in gaps if at >= begin and to <= end]


def touching(gaps, begin, end):
    """Milliseconds of the gaps that have a part in this time."""
    return [(to - at) * 1e3 for at, to in gaps if to > begin and at < end]
