"""Requests whose greedy answer is known beforehand and is their own: the conversation so far has the answer twice, and the model says it
again. On the default model every token wins by more than 2 logits (measured by sampling for names from 1), so that neither the batch nor
reused cells can change it; another request's cells, or missing ones, do."""
from llama_fixtures import assistant, user
from wire import request


def lines_of(name: int, numbers: int = 8) -> str:
    """A text that no other name (1, 2, ...) has, of some 4 tokens a number."""
    assert name > 0, "of 0 the model is not sure: 0 1 2, or 1 2 3"
    return f"I am client {name}: " + " ".join(str(100 * name + n) for n in range(numbers))


def recital(text: str, *before: dict, id: str = "r", max_tokens: int = 400, **fields) -> dict:
    """A request for `text`, after the messages `before`."""
    turns = [user("Recite."), assistant(text)]
    return request(messages=[*before, *turns, *turns, user("Recite.")], id=id, temperature=0, max_tokens=max_tokens, **fields)
