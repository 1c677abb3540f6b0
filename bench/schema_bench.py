#!/usr/bin/env python3
"""Answers that conform to a JSON Schema, and tool calls that are demanded, over v2 at temperature 1.0: how many end by
themselves, and whether PyPI's jsonschema finds them valid. See README.md.

    bench/schema_bench.py [--build build/release] [--rows generations,calls] [--generations 1000] [--calls 500]

It runs in a Python environment of its own (requirements.txt), which it makes in the cache when there is none.

Variables: INFERD_MODEL (a model file; default: the default model in the model store).
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import harness
import lib
import prompts
import schema_cases

CONNECTIONS = 8  # at once
MAX_TOKENS = 1024
ENDED_SHARE = 0.95
KEPT = 5  # failed answers that the results show in full
CONFIGURATION = {"--active-permits": CONNECTIONS, "--queue-depth": 16, "--kv-cells": 16384, "--n-ctx": 8192}


def enter_environment():
    """Goes on in the environment that has jsonschema."""
    command = [lib.ROOT / "scripts/python-env.sh", "bench", "-r", "bench/requirements.txt"]
    made = subprocess.run(command, cwd=lib.ROOT, stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        lib.fail("scripts/python-env.sh failed")
    folder = pathlib.Path(made.stdout.strip())
    if pathlib.Path(sys.prefix).resolve() != folder.resolve():
        os.execv(folder / "bin/python", [folder / "bin/python", *sys.argv])


class Answer:
    """What a request brought."""

    def __init__(self, stream):
        self.text, self.calls, self.thinking = "", [], ""
        self.stop_reason, self.error, self.tokens = None, None, 0
        for _, line in stream.lines():
            frame = json.loads(line)
            if frame["type"] == "frame":
                self.take(frame["block"])
            elif frame["type"] == "done":
                self.stop_reason, self.tokens = frame["stop_reason"], frame["usage"]["output_tokens"]
            elif frame["type"] == "error":
                self.error = f"{frame['code']}: {frame['message']}"
        if self.stop_reason is None and self.error is None:
            self.error = "the connection was closed before the end"

    def take(self, block):
        if block["type"] == "tool_use":
            self.calls.append(block)
        else:
            part = "text" if block["type"] == "text" else "thinking"
            setattr(self, part, getattr(self, part) + block["delta"])

    def shown(self):
        return {key: value for key, value in vars(self).items() if value}


class Bench(harness.Harness):
    def v2_daemon(self):
        self.v2 = self.folder / "v2.sock"
        options = [str(word) for pair in CONFIGURATION.items() for word in pair]
        return self.daemon("--v2", "--v2-addr", str(self.v2), *options)

    def ask_all(self, requests):
        """(what belongs to a request, its answer) of each; `requests` are pairs of that and the request's fields."""
        waiting = iter(requests)
        cases, streams = [], []

        def client():
            for case, request in waiting:
                body = {"id": "s", "temperature": 1.0, "max_tokens": MAX_TOKENS, **request}
                line = json.dumps(body, ensure_ascii=False).encode() + b"\n"
                stream = lib.Stream(self.v2, line, (b'"stop_reason":', b'"type":"error"'))
                cases.append(case)
                streams.append(stream)
                if len(streams) % 100 == 0:
                    lib.note(f"{len(streams)} of {len(requests)} requests sent")
                yield stream

        lib.run_clients([client() for _ in range(min(CONNECTIONS, len(requests)))])
        return [(case, Answer(stream)) for case, stream in zip(cases, streams, strict=True)]


def message(role, text):
    return {"role": role, "content": [{"type": "text", "text": text}]}


def faults_of(validator, value):
    """Empty if `value` is valid."""
    return "; ".join(f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value))


def faults_of_text(validator, text):
    try:
        return faults_of(validator, json.loads(text))
    except ValueError as error:
        return f"no JSON: {error}"


# ---------------------------------------------------------------- answers that conform to a schema


def generations(bench):
    import jsonschema

    validators = {}
    for what, schema in schema_cases.SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        validators[what] = jsonschema.Draft202012Validator(schema)
    whats = list(schema_cases.SCHEMAS)
    topics = random.Random(bench.arguments.seed)
    requests = []
    for number in range(bench.arguments.generations):
        what = whats[number % len(whats)]
        question = f"Write {what} as JSON. It has to do with {topics.choice(prompts.WORDS)}."
        request = {
            "messages": [message("system", "You answer with JSON only."), message("user", question)],
            "response_format": {"type": "json_schema", "schema": schema_cases.SCHEMAS[what]},
            "seed": bench.arguments.seed + number,
        }
        requests.append((what, request))
    begin = time.monotonic()
    answers = bench.ask_all(requests)
    seconds = time.monotonic() - begin

    counts = {what: collections.Counter() for what in whats}
    wrong, failed = [], []
    for what, answer in answers:
        count = counts[what]
        count["asked"] += 1
        count["tokens"] += answer.tokens
        if answer.stop_reason == "max_tokens":
            count["cut off"] += 1
        elif answer.stop_reason == "end_turn":
            count["ended"] += 1
            if fault := faults_of_text(validators[what], answer.text):
                count["not valid"] += 1
                wrong.append({"schema": what, "fault": fault, **answer.shown()})
        else:
            failed.append({"schema": what, **answer.shown()})
    total = sum(counts.values(), collections.Counter())
    kept = {"wrong": wrong[:KEPT], "failed": failed[:KEPT]}
    bench.details["generations"] = {"schemas": counts, "seconds": seconds, **kept}
    worst = max(whats, key=lambda what: counts[what]["cut off"])
    bench.table.add(
        f"{len(answers)} answers, {len(whats)} schemas: end by themselves",
        total["ended"],
        at_least=ENDED_SHARE * len(answers),
        detail=f"{total['cut off']} cut off at {MAX_TOKENS} tokens, most of them {worst} ({counts[worst]['cut off']})",
    )
    detail = wrong[0]["fault"] if wrong else f"jsonschema finds {total['ended']} valid"
    bench.table.add("  of these: not valid", total["not valid"], at_most=0, detail=detail)
    detail = str(failed[0].get("error") or failed[0].get("stop_reason")) if failed else ""
    bench.table.add("  refused or failed", len(failed), at_most=0, detail=detail)
    bench.table.add("  all", total["tokens"] / seconds, "tok/s", detail=f"{total['tokens']} tokens in {seconds:.0f} s")


# ---------------------------------------------------------------- tool calls that are demanded


def calls(bench):
    import jsonschema

    validators = {tool["name"]: jsonschema.Draft202012Validator(tool["input_schema"]) for tool in schema_cases.TOOLS}
    names = list(validators)
    requests = []
    for number in range(bench.arguments.calls):
        name = names[number // 2 % len(names)] if number % 2 else None
        request = {
            "messages": [message("user", schema_cases.QUESTIONS[number % len(schema_cases.QUESTIONS)])],
            "tools": schema_cases.TOOLS,
            "tool_choice": {"type": "tool", "name": name} if name else "required",
            "seed": bench.arguments.seed + number,
        }
        requests.append((name, request))
    begin = time.monotonic()
    answers = bench.ask_all(requests)
    seconds = time.monotonic() - begin

    count, failed = collections.Counter(), []
    for name, answer in answers:
        fault = fault_of_calls(answer, [name] if name else names)
        count["right"] += not fault
        if fault:
            failed.append({"fault": fault, "named": name, **answer.shown()})
            continue
        inputs = [(call["input"], validators[call["name"]]) for call in answer.calls]
        count["conform"] += not any(faults_of(validator, value) for value, validator in inputs)
        count["outside ASCII"] += not any(json.dumps(value, ensure_ascii=False).isascii() for value, _ in inputs)
        count["several"] += len(answer.calls) > 1
    bench.details["calls"] = {"counts": count, "seconds": seconds, "failed": failed[:KEPT]}
    detail = failed[0]["fault"] if failed else f"{count['several']} answers with several calls, {seconds:.0f} s"
    bench.table.add(
        f"{len(answers)} tool calls, required and named: parse, name right",
        count["right"],
        at_least=len(answers),
        detail=detail,
    )
    bench.table.add("  arguments conform to input_schema", count["conform"], detail="of those")
    bench.table.add("  arguments with text outside ASCII", count["outside ASCII"], detail="of those")


def fault_of_calls(answer, names):
    """Empty if the answer is what was demanded: at least one call, each of one of `names`."""
    if answer.error:
        return answer.error
    if not answer.calls:
        return f"no call, {answer.stop_reason}"
    if answer.stop_reason != "tool_use":
        return f"stop_reason {answer.stop_reason}"
    for call in answer.calls:
        if call["name"] not in names:
            return f"a call of {call['name']}"
        if not isinstance(call["input"], dict):
            return f"arguments {json.dumps(call['input'], ensure_ascii=False)}"
    return ""


ROWS = {"generations": generations, "calls": calls}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=lib.ROOT / "build/release", help="folder of the programs")
    parser.add_argument("--daemon", type=pathlib.Path, help="another daemon than BUILD/bin/inferd-daemon")
    parser.add_argument("--rows", default=",".join(ROWS), help="default: %(default)s")
    parser.add_argument("--generations", type=int, default=1000, help="answers that conform to a schema")
    parser.add_argument("--calls", type=int, default=500, help="tool calls")
    parser.add_argument("--seed", type=int, default=1, help="of the first request; each has the next one")
    parser.add_argument("--no-results", action="store_true", help="print only, leave bench/results/ alone")
    arguments = parser.parse_args()
    arguments.chosen = arguments.rows.split(",")
    if unknown := set(arguments.chosen) - set(ROWS):
        lib.fail(f"unknown rows: {', '.join(sorted(unknown))}")
    if min(arguments.generations, arguments.calls) < 1:
        lib.fail("--generations and --calls are at least 1; leave a row out with --rows")
    arguments.daemon = arguments.daemon or arguments.build / "bin/inferd-daemon"
    arguments.model = harness.find_model()
    if not arguments.model.is_file():
        lib.fail(f"{arguments.model}: no model file; set INFERD_MODEL or run `make run ONCE=1` first")
    with open(arguments.model, "rb") as model:
        arguments.sha256 = hashlib.file_digest(model, "sha256").hexdigest()
    return arguments


def main():
    arguments = parse_arguments()
    enter_environment()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started here ends with it, as with Ctrl-C
    facts, table = lib.machine(), lib.Table()
    with lib.Scratch() as folder:
        bench = Bench(arguments, folder, table)
        with bench.v2_daemon() as daemon:
            daemon.wait_ready()
            for name in arguments.chosen:
                try:
                    ROWS[name](bench)
                except SystemExit as failed:  # of lib.fail(): the other row is worth having
                    table.add(f"{name}: measured", 0, at_least=1, detail=str(failed))
    table.print()
    if not arguments.no_results:
        table.write("schema", facts, bench.details)
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
