"""Rows of share_bench.py: how fast many clients are served, and what memory that takes. Standard library only."""

import bisect
import json
import subprocess

import lib
from share_sides import CELLS, SLOTS, better_peer, medians, spelled

CLIENTS = [1, 2, 4, 8, 16]
ANSWER_TOKENS = 64
TRIES = 6  # for a sample in which no answer ends early
DECODE_SERVER_RATIO, DECODE_BATCHED_RATIO = 1.03, 0.95
SHARED_TOKENS, SHARED_REQUESTS, SHARED_ANSWER, SHARED_RATIO = 1440, 3, 16, round(1 / 4.5, 4)
OWN_TOKENS, OWN_ANSWER, OWN_RATIO = 512, 32, 1.0
MEMORY_RATIO = 1.0


# ---------------------------------------------------------------- decode


def decode(bench):
    rounds = []
    with bench.sides() as sides:
        for number in range(bench.arguments.rounds):
            rates = {}
            for clients in CLIENTS:
                able = [side for side in sides if side.name == "inferd" or clients <= SLOTS]
                rates[clients] = decode_rates(bench, bench.in_turn(able, number), clients)
            for clients, figures in batched_bench(bench).items():
                rates[clients] |= figures
            rounds.append(rates)
            lib.note("decode, tokens/s: " + "; ".join(f"{k}: {spelled(rates[k])}" for k in CLIENTS))
    bench.details["decode_tokens_per_second"] = rounds
    for clients in CLIENTS:
        figures = medians([rates[clients] for rates in rounds])
        ours = figures["inferd"]
        what = f"decode, {clients} client{'s' if clients > 1 else ''}"
        if clients <= SLOTS:
            name, peer = better_peer(figures)
            bench.table.add(
                f"{what}: tokens/s / llama-server",
                ours / peer,
                at_least=DECODE_SERVER_RATIO,
                detail=f"{ours:.1f} tokens/s, {name} {peer:.1f}",
            )
        name, peer = better_peer(figures, among="llama-batched-bench")
        bench.table.add(
            f"{what}: tokens/s / llama-batched-bench TG",
            ours / peer,
            at_least=DECODE_BATCHED_RATIO,
            detail=f"{ours:.1f} tokens/s, {name} {peer:.1f}",
        )


def decode_rates(bench, sides, clients):
    """{side: tokens/s} for the same prompts; one or two clients more than once, because a second is short."""
    times = max(1, 4 // clients)
    for _ in range(TRIES):
        asked = [[bench.prompts.story() for _ in range(clients)] for _ in range(times)]
        rates, early = {}, 0
        for side in sides:
            taken = []
            for messages in asked:
                streams = [side.stream(m, ANSWER_TOKENS) for m in messages]
                lib.run_streams(streams)
                answers = [side.answer(stream) for stream in streams]
                early += sum(answer.completion_tokens < ANSWER_TOKENS for answer in answers)
                taken.append(rate_together(answers))
            rates[side.name] = sum(taken) / times
        if not early:
            return rates
        lib.note(f"{clients} clients: {early} answers ended before {ANSWER_TOKENS} tokens: again with other prompts")
    lib.fail(f"decode, {clients} clients: answers keep ending early")


def rate_together(answers):
    """Tokens a second of all together, from when the last of them has its first token to when the first has its last
    one. Between two tokens a client's count is interpolated: which token of a step arrives first makes no difference.
    For one client this is (n - 1) / (last token - first token)."""
    begin = max(answer.token_times[0] for answer in answers)
    end = min(answer.token_times[-1] for answer in answers)
    if end <= begin:
        return 0.0  # they were not served at the same time
    return sum(tokens_at(answer, end) - tokens_at(answer, begin) for answer in answers) / (end - begin)


def tokens_at(answer, at):
    times = answer.token_times
    after = bisect.bisect_right(times, at)
    frames = float(after)
    if 0 < after < len(times):
        frames += (at - times[after - 1]) / (times[after] - times[after - 1])
    # A frame may hold more than one token: of a character that takes several, say.
    return frames * answer.completion_tokens / len(times)


def batched_bench(bench):
    """{clients: {name: tokens/s}} with and without --kv-unified."""
    rates = {clients: {} for clients in CLIENTS}
    for more in ([], ["--kv-unified"]):
        name = " ".join(["llama-batched-bench", *more])
        command = [str(bench.arguments.peers / "llama-batched-bench"), "-m", str(bench.arguments.model)]
        command += ["-npp", "32", "-ntg", str(ANSWER_TOKENS), "-npl", ",".join(map(str, CLIENTS)), "-c", str(CELLS)]
        command += ["-t", str(bench.threads), "-b", "2048", "-ub", "512", "--output-format", "jsonl", *more]
        bench.show(name, command)
        run = subprocess.run(
            command, capture_output=True, text=True, env=lib.clean_environment(bench.folder), timeout=300
        )
        lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        if run.returncode != 0 or [line["pl"] for line in lines] != CLIENTS:
            lib.fail(f"{name}: {run.stderr[-2000:]}")
        for line in lines:
            rates[line["pl"]][name] = line["speed_tg"]
    return rates


# ---------------------------------------------------------------- one shared system prompt


def shared(bench):
    def prompts():
        system = bench.prompts.long_system(SHARED_TOKENS)  # another one each round
        return [[[system, bench.prompts.ask_for_story()] for _ in range(SHARED_REQUESTS)] for _ in range(SLOTS)]

    figures, tokens = rounds_of(bench, "shared", prompts, SHARED_ANSWER, wall, "wall_seconds", "{:.2f}")
    name, peer = better_peer(figures, min)
    bench.table.add(
        f"{SLOTS} clients x {SHARED_REQUESTS} on one system prompt of {SHARED_TOKENS} tokens: wall / llama-server",
        figures["inferd"] / peer,
        at_most=SHARED_RATIO,
        detail=f"{figures['inferd']:.2f} s, {name} {peer:.2f} s; answer tokens {tokens['inferd']}, {tokens[name]}",
    )


def rounds_of(bench, row, prompts, max_tokens, figure_of, label, form):
    """Each side answers the same prompts in each round, another set each time. Medians of the figure, and tokens of the last
    answers, by side."""
    rounds, details = [], []
    with bench.sides() as sides:
        for number in range(bench.arguments.rounds):
            asked = prompts()
            figures = {}
            for side in bench.in_turn(sides, number):
                answers = ask_in_turn(side, asked, max_tokens)
                figures[side.name] = figure_of(answers)
                details.append({"round": number, "side": side.name, **summary(answers)})
            rounds.append(figures)
            lib.note(f"{row}, {label}: " + spelled(figures, form))
    bench.details[row] = {label: rounds, "answers": details}
    return medians(rounds), {last["side"]: last["completion_tokens"] for last in details}


def ask_in_turn(side, asked, max_tokens):
    """Each client sends its requests one after the other, all clients at the same time."""
    streams = lib.run_clients((side.stream(m, max_tokens) for m in messages) for messages in asked)
    return [side.answer(stream) for stream in streams]


def wall(answers):
    """Seconds from the first request sent to the end of the last answer."""
    return max(answer.done_at for answer in answers) - min(answer.sent_at for answer in answers)


def summary(answers):
    return {
        "prompt_tokens": sum(answer.prompt_tokens for answer in answers),
        "cached_tokens": sum(answer.cached for answer in answers),
        "completion_tokens": sum(answer.completion_tokens for answer in answers),
        "first_token_ms": round(lib.median(answer.first_token_ms() for answer in answers), 1),
    }


# ---------------------------------------------------------------- a prompt of its own each


def own(bench):
    def rate(answers):
        return sum(answer.completion_tokens for answer in answers) / wall(answers)

    figures, tokens = rounds_of(bench, "own", lambda: own_prompts(bench), OWN_ANSWER, rate, "tokens_per_second", "{:.1f}")
    name, peer = better_peer(figures)
    bench.table.add(
        f"{SLOTS} clients, own prompts of {OWN_TOKENS}: output tokens by wall time / llama-server",
        figures["inferd"] / peer,
        at_least=OWN_RATIO,
        detail=f"{figures['inferd']:.1f} tokens/s, {name} {peer:.1f}; tokens {tokens['inferd']}, {tokens[name]}",
    )


def own_prompts(bench):
    return [[bench.prompts.long_story(OWN_TOKENS)] for _ in range(SLOTS)]


# ---------------------------------------------------------------- memory


def memory(bench):
    """The row above on fresh processes: after its first round and after its last one."""
    rounds = []
    with bench.sides() as sides:
        for number in range(bench.arguments.rounds):
            asked = own_prompts(bench)
            for side in bench.in_turn(sides, number):
                ask_in_turn(side, asked, OWN_ANSWER)
            rounds.append({side.name: side.family_memory() for side in sides})
    bench.details["memory_mib"] = rounds
    for when, taken in (("", rounds[0]), (f" after {len(rounds)} rounds", rounds[-1])):
        for kind, target in (("rss", MEMORY_RATIO), ("pss", None)):
            figures = {side: sizes[kind] for side, sizes in taken.items()}
            name, peer = better_peer(figures, min)
            bench.table.add(
                f"memory of daemon and engine{when}: {kind.upper()} / llama-server",
                figures["inferd"] / peer,
                at_most=target,
                detail=spelled(figures, "{:.0f} MiB"),
            )
