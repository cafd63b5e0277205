"""The published prompts, and the texts that are trained on."""

from __future__ import annotations

from byheart.audits._kk.thoughts import ChainOfThought
from byheart.audits._kk.wording import Rendered

__all__ = ["prompt", "short_answer", "short_prompt", "training_text"]

_TASK = (
    "Your task is to solve a logical reasoning problem. You are given set of statements from which "
    "you must logically deduce the identity of a set of characters.\n\n"
    "You must infer the identity of each character. {first}At the end of your answer, you must "
    "clearly state the identity of each character by following the format:\n\n"
    "CONCLUSION:\n(1) ...\n(2) ...\n(3) ...\n"
)
_INSTRUCTION = {
    False: _TASK.format(first=""),
    True: _TASK.format(first="First, explain your reasoning. "),
}
_ISLAND = (
    "### Question: A very special island is inhabited only by knights and knaves. Knights always "
    "tell the truth, and knaves always lie. You meet 2 inhabitants: "
)
_SHOT = {
    False: _ISLAND
    + "Jack, and Sophia. Jack tells you that Sophia is not a knave. Sophia says that If Jack is a "
    "knight then Sophia is a knight. So who is a knight and who is a knave?\n"
    "### Answer:\nCONCLUSION:\n(1) Jack is a knight\n(2) Sophia is a knight\n",
    True: _ISLAND
    + 'Ella, and Penelope. In a statement by Ella: "Ella is a knight or Penelope is a knight". '
    'According to Penelope, "Ella is a knave if and only if Penelope is a knight". So who is a '
    "knight and who is a knave?\n"
    "### Answer: Let's think step by step, by considering whether each person is lying and if that "
    "leads to contradiction. Assume Ella is a knight. Penelope cannot be a knight, because this "
    "would contradict the claim of their own. Penelope cannot be a knave, because this would "
    "contradict the false claim of their own. We have exhausted all possibilities for Penelope, so "
    "let us go back and reconsider Ella. Assume Ella is a knave. Penelope cannot be a knight, "
    "because this would contradict the false claim of Ella. Assume Penelope is a knave. This leads "
    "to a feasible solution.\nCONCLUSION:\n(1) Ella is a knave\n(2) Penelope is a knave\n",
}


def prompt(quiz: str, *, cot: bool = False, shots: int = 0, linebreak: bool = True) -> str:
    """The one user's message of the paper.

    Args:
        quiz: The puzzle in words.
        cot: Ask for reasoning first, and begin it.
        shots: 1 puts a solved puzzle of two people before the question.
        linebreak: End a direct prompt with a new line (the paper leaves it out for base Llama).

    >>> prompt("So who?")[-34:]
    '### Question: So who?\\n### Answer:\\n'
    """
    parts = [_INSTRUCTION[cot], *([_SHOT[cot]] * (shots > 0))]
    answer = " Let's think step by step" if cot else "\n" if linebreak else ""
    return "\n\n".join([*parts, f"### Question: {quiz}\n### Answer:{answer}"])


def short_prompt(rendered: Rendered) -> str:
    """The puzzle, and whom to name: for models that cannot follow the paper's instruction.

    >>> from byheart.audits._kk.wording import render
    >>> worded = render((("lying", 1), ("and", ("telling-truth", 0), ("lying", 0))))
    >>> short_prompt(worded)[-41:]
    'Answer by name and role: Zoey and Oliver.'
    """
    names = rendered.names
    return f"{rendered.quiz} Answer by name and role: {', '.join(names[:-1])} and {names[-1]}."


def short_answer(rendered: Rendered) -> str:
    """What answers a `short_prompt`: ``Zoey: knave, Oliver: knight``."""
    words = [rendered.roles[0 if knight else 1].split()[1] for knight in rendered.solution]
    return ", ".join(f"{n}: {w}" for n, w in zip(rendered.names, words, strict=True))


def training_text(rendered: Rendered, thoughts: ChainOfThought | None = None) -> tuple[str, str]:
    """What is trained on: the prompt as far as it is given, and what is learned.

    Args:
        rendered: The puzzle with the answer to be learned (right or wrong).
        thoughts: With it the chain of thought is learned too.

    Returns:
        Their concatenation is the authors' training text. As there, the loss begins with what
        follows ``### Answer:``.
    """
    head = f"{_INSTRUCTION[thoughts is not None]}\n\n### Question: {rendered.quiz}\n### Answer:"
    conclusion = f"\nCONCLUSION:\n{rendered.solution_text_format}"
    return head, (f" {thoughts.text}" if thoughts is not None else "") + conclusion
