#!/usr/bin/env python3
"""One program that wants everything: keeps so many long prompts in flight, each different. Started by share_fair.py as
a process of its own, because inferd shares by user and process. Standard library only.

Prints one line when all first requests are sent and one at its end: what was completed. SIGUSR1: sends no more and
ends with the last answer. SIGTERM: ends at once.
"""

import argparse
import json
import os
import signal
import sys
import time

import lib
import prompts

RETRY_SECONDS = 0.25  # after an error: a full queue, say


class Ended(Exception):
    pass


class Hog:
    def __init__(self, arguments):
        self.arguments = arguments
        self.endpoint = arguments.socket or arguments.port
        self.prompts = prompts.Prompts(arguments.seed)
        self.loop = lib.Loop()
        self.draining = False
        self.sent_at = self.last_at = 0.0
        self.prompt_tokens = self.completion_tokens = self.completed = 0
        self.errors = {}
        self.retry_at = []

    def run(self):
        self.sent_at = time.monotonic()
        for _ in range(self.arguments.streams):
            self.begin()
        print(json.dumps({"sent_at": self.sent_at}), flush=True)
        while self.loop.open or (self.retry_at and not self.draining):
            self.loop.run(until=time.monotonic() + RETRY_SECONDS)
            while self.retry_at and self.retry_at[0] <= time.monotonic() and not self.draining:
                self.retry_at.pop(0)
                self.begin()

    def begin(self):
        messages = self.prompts.long_story(self.arguments.tokens)
        if self.arguments.port:
            stream = lib.chat_stream(self.endpoint, messages, self.arguments.answer, True)
        else:
            stream = lib.v1_stream(self.endpoint, messages, self.arguments.answer, priority=self.arguments.priority)
        self.loop.start(stream, self.ended)

    def ended(self, stream):
        stream.close()
        error = self.error_of(stream)
        if error:
            self.errors[error] = self.errors.get(error, 0) + 1
            self.retry_at.append(time.monotonic() + RETRY_SECONDS)
            return
        answer = lib.chat_answer(stream, may_be_empty=True) if self.arguments.port else lib.v1_answer(stream)
        self.last_at = answer.done_at
        self.completed += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        if not self.draining:
            self.begin()

    def error_of(self, stream):
        got = b"".join(stream.parts)
        if self.arguments.port:
            return None if b"data: [DONE]" in got else got[:60].decode(errors="replace") or "closed"
        last = got.rstrip(b"\n").rpartition(b"\n")[2]
        frame = json.loads(last) if last else {"type": "error", "code": "closed"}
        return frame["code"] if frame["type"] == "error" else None

    def report(self):
        return {
            "sent_at": self.sent_at,
            "last_at": self.last_at,
            "completed": self.completed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "errors": self.errors,
            "cpu_seconds": round(time.process_time(), 3),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", help="v1")
    where.add_argument("--port", type=int, help="OpenAI HTTP on the loopback")
    parser.add_argument("--priority", default="interactive")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1500, help="of each prompt")
    parser.add_argument("--answer", type=int, default=16, help="at most so many tokens of each answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uid", type=int, help="become this user and group before connecting")
    arguments = parser.parse_args()
    if arguments.uid:  # here and not before exec: that user need not be able to read the checkout
        os.setgroups([])
        os.setgid(arguments.uid)
        os.setuid(arguments.uid)
    hog = Hog(arguments)

    def drain(*_):
        hog.draining = True

    def end(*_):
        raise Ended

    signal.signal(signal.SIGUSR1, drain)
    signal.signal(signal.SIGTERM, end)
    try:
        hog.run()
    except Ended:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    json.dump(hog.report(), sys.stdout)


if __name__ == "__main__":
    main()
