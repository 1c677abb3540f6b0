"""Rows of share_bench.py: conversations, whose every turn holds what was said before. Standard library only."""

import lib
from share_sides import better_peer, spelled

TURNS, TURN_ANSWER, TURN_RATIO = 12, 32, 1.0
COMPUTED_AGAIN = 1  # tokens: the last one of an answer has been sampled, never computed
CHATS, CHAT_TOKENS, CHAT_TURNS, CHAT_ANSWER, CHAT_RATIO = 3, 1000, 6, 16, 1.3
CHAT_CELLS = 1536  # one and a half chats


class Conversation:
    """One side's chat: its own answers become part of its next prompt."""

    def __init__(self, bench, side, messages, max_tokens):
        self.bench, self.side, self.max_tokens = bench, side, max_tokens
        self.messages = list(messages)
        self.turns = []

    def say(self, text=None):
        """A turn; without a text the messages end with the user's already."""
        if text is not None:
            self.messages.append({"role": "user", "content": text})
        answer = self.bench.ask(self.side, self.messages, self.max_tokens)
        self.messages.append({"role": "assistant", "content": answer.text})
        turn = {
            "first_token_ms": answer.first_token_ms(),
            "prompt_tokens": answer.prompt_tokens,
            "cached_tokens": answer.cached,
            "completion_tokens": answer.completion_tokens,
        }
        if self.turns:
            before = self.turns[-1]
            new = answer.prompt_tokens - before["prompt_tokens"] - before["completion_tokens"]
            turn["computed_again"] = answer.prompt_tokens - answer.cached - new
        self.turns.append(turn)


def first_tokens(rounds, turn):
    """Median over the rounds of a turn's first token, in milliseconds."""
    return lib.median(turns[turn]["first_token_ms"] for turns in rounds)


# ---------------------------------------------------------------- one conversation


def turns(bench):
    rounds = []
    with bench.sides() as sides:
        for number in range(bench.arguments.rounds):
            system = bench.prompts.system()
            said = [bench.prompts.ask_for_story()["content"] for _ in range(TURNS)]
            taken = {}
            for side in bench.in_turn(sides, number):
                conversation = Conversation(bench, side, [system], TURN_ANSWER)
                for text in said:
                    conversation.say(text)
                taken[side.name] = conversation.turns
            rounds.append(taken)
            sums = {name: sum(turn["first_token_ms"] for turn in turns) for name, turns in taken.items()}
            lib.note(f"{TURNS} turns, sum of first tokens, ms: " + spelled(sums))
    bench.details["turns"] = rounds
    firsts = {name: [first_tokens([r[name] for r in rounds], turn) for turn in range(TURNS)] for name in rounds[0]}
    name, _ = better_peer({side: sum(values) for side, values in firsts.items()}, min)
    ratios = [ours / peer for ours, peer in zip(firsts["inferd"], firsts[name])]
    worst = ratios.index(max(ratios))
    bench.table.add(
        f"conversation of {TURNS} turns: first token / llama-server, worst turn",
        ratios[worst],
        at_most=TURN_RATIO,
        detail=f"turn {worst + 1}: {firsts['inferd'][worst]:.1f} ms, {name} {firsts[name][worst]:.1f} ms; "
        f"median of the turns {lib.median(ratios):.3f}",
    )
    again = {side: [turn["computed_again"] for r in rounds for turn in r[side][1:]] for side in ("inferd", name)}
    bench.table.add(
        "  prompt tokens computed that were there before, worst turn",
        max(again["inferd"]),
        at_most=COMPUTED_AGAIN,
        detail=f"in all {sum(again['inferd'])}; {name} at most {max(again[name])}, in all {sum(again[name])}",
    )


# ---------------------------------------------------------------- three conversations, cells for one and a half


def chats(bench):
    alone, in_turn = [], []
    with bench.inferd({"--kv-cells": CHAT_CELLS, "--n-ctx": CHAT_CELLS}) as daemon:
        for _ in range(bench.arguments.rounds):
            undisturbed = new_chat(bench, daemon)
            for turn in range(CHAT_TURNS):
                chat_turn(bench, undisturbed, turn)
            alone.append(undisturbed.turns)
            several = [new_chat(bench, daemon) for _ in range(CHATS)]
            for turn in range(CHAT_TURNS):
                for chat in several:
                    chat_turn(bench, chat, turn)
            in_turn.append([chat.turns for chat in several])
    bench.details["chats"] = {"alone": alone, "in_turn": in_turn}
    ratios = {}
    for turn in range(1, CHAT_TURNS):
        base = first_tokens(alone, turn)
        for chat in range(CHATS):
            disturbed = first_tokens([r[chat] for r in in_turn], turn)
            ratios[chat + 1, turn + 1] = (disturbed / base, disturbed, base)
    worst = max(ratios, key=ratios.get)
    again = [turn["computed_again"] for r in in_turn for turns in r for turn in turns[1:]]
    bench.table.add(
        f"{CHATS} chats of {CHAT_TOKENS} tokens in turn, {CHAT_CELLS} cells: first token / undisturbed, worst turn",
        ratios[worst][0],
        at_most=CHAT_RATIO,
        detail="chat {}, turn {}: ".format(*worst)
        + f"{ratios[worst][1]:.1f} ms, undisturbed {ratios[worst][2]:.1f} ms; "
        + f"median {lib.median(r[0] for r in ratios.values()):.3f}; computed again at most {max(again)} tokens",
    )


def new_chat(bench, daemon):
    return Conversation(bench, daemon, bench.prompts.long_story(CHAT_TOKENS), CHAT_ANSWER)


def chat_turn(bench, chat, turn):
    chat.say(bench.prompts.ask_for_story()["content"] if turn else None)
