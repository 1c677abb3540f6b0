"""Prompts for the default model, the same for every side of a comparison. Standard library only."""

import random

LONG_PROMPT = 4000  # tokens: several seconds of prefill, so that a close always falls into it
LONG_QUESTION = 24  # tokens of the question for a story and of the template
TEMPLATE = 16  # tokens of a prompt with a system message of two words that are not the user's text

# Each is one token of the default model, capitalised at the start of a text as well as after a space.
WORDS = """
action activity age air apple area arm art back body book building business car case center change child city class
cloud college community control corn cost country data day death development difference director doctor drug earth
east education effect end engine event eye face fact family farm father field figure fire flag foot force forest form
game gold government ground group hand head health heart history home honey house image information interest iron
issue job kid kind land law letter level life light line love man map market member mind money month mother music name
need news night north number ocean office official oil others paper parent part patient people person phone picture
place plan plane player point policy position power practice president price problem product program project question
rain rate reason record report research result right river road role room salt school season service show side silver
site snow son south space spring star state stone story student study sugar summer system table tax teacher team test
thread time train use value view wall war water way week west wind window winter word work world year
""".split()


class Prompts:
    """Prompts that share no prefix beyond what the chat template puts first: the first word of the system message
    differs from prompt to prompt, so neither side can answer from work that it did for an earlier one. After as many
    prompts as there are words a first word comes again, with another second one: one token more in common."""

    def __init__(self, seed=20):
        self.random = random.Random(seed)
        self.openings = []

    def system(self):
        if not self.openings:
            self.openings = self.random.sample(WORDS, len(WORDS))
        return {"role": "system", "content": f"{self.openings.pop().capitalize()} {self.random.choice(WORDS)}"}

    def long_system(self, tokens):
        """A system message of so many words, each a token."""
        message = self.system()
        message["content"] += " " + " ".join(self.random.choices(WORDS, k=tokens - 2))
        return message

    def ask_for_story(self):
        one, other = self.random.sample(WORDS, 2)
        return {"role": "user", "content": f"Write a long story about the {one} and the {other}."}

    def short(self):
        """20 tokens of the default model with its template."""
        return [self.system(), {"role": "user", "content": f"Describe the {self.random.choice(WORDS)}."}]

    def story(self):
        """27 tokens; the answer goes on for longer than 64."""
        asked = self.ask_for_story()
        return [self.system(), asked]

    def long_story(self, tokens):
        """About so many tokens; the answer goes on for longer than 32."""
        return [self.long_system(tokens - LONG_QUESTION), self.ask_for_story()]

    def long(self, tokens=LONG_PROMPT):
        """About so many tokens."""
        words = " ".join(self.random.choices(WORDS, k=tokens - TEMPLATE))
        return [self.system(), {"role": "user", "content": words}]
