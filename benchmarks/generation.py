"""Generating 256 tokens: what the layer above llama.cpp costs.

``Context.generate`` also keeps each token's log-probability, decodes UTF-8, looks for stop strings,
can be interrupted between two tokens and stopped within one. It takes turns with

- a bare loop of ``llama_sampler_sample`` and ``llama_decode``, which does none of that. It gets the
  same context parameters, the same sampler chain and the same number of decodes; the target is 0.97
  of its speed.
- ``Llama.create_completion`` with the same sampling parameters, which decodes as often: it begins
  with the prompt's last token again and leaves its own last token out. The target is to be faster.

SmolLM2's tokens take 6 to 13 ms on 2 cores. The steps in between find the caches full of weights:
0.15 ms of ours where the likeliest token is taken and 0.25 ms where one is drawn, 0.08 of them for
the log-probability, and 0.1 ms of the bare loop's.

The prompt is evaluated beforehand. Each way has processes of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp

from mullama_nb import Context, ContextParams, SamplingParams

from .bare import BareContext, make_llama, prompt_tokens, sampler_chain
from .pairing import Hosted, Race, Stopwatch, hosted, race
from .report import Effort, Table, compared
from .weights import load_model

__all__ = ["run"]

_PARAMS = ContextParams(n_ctx=2048)
_SAMPLINGS = {"greedy": SamplingParams(temperature=0), "default sampling": SamplingParams()}
_DEPTHS = (64, 1500)
_TOKENS = 256
_PROCESSES = 8  # one after the other: by where its memory lies, one is 5 % faster than the next


class _Ours:
    def __init__(self) -> None:
        self.model = load_model()
        self.context = Context(self.model, _PARAMS)

    def generate(self, n_prompt: int, sampling: SamplingParams, n_tokens: int) -> float:
        context, tokens = self.context, prompt_tokens(self.model, n_prompt)
        held = context.token_count()
        context.rewind(min(held, n_prompt) - 1 if held else 0)
        context.evaluate(tokens[context.token_count() :])
        with Stopwatch() as watch:
            completion = context.generate(None, n_tokens, sampling=sampling)
        return watch.seconds / len(completion.tokens)


class _Bare:
    def __init__(self) -> None:
        self.model = load_model()
        self.context = BareContext(self.model, _PARAMS)

    def generate(self, n_prompt: int, sampling: SamplingParams, n_tokens: int) -> float:
        context, tokens = self.context, prompt_tokens(self.model, n_prompt)
        keep = min(context.n_tokens, n_prompt - 1)
        context.cut(keep)
        if keep < n_prompt - 1:
            context.decode(tokens[keep:-1])
        context.decode(tokens[-1:])
        chain = sampler_chain(sampling)
        try:
            with Stopwatch() as watch:
                context.generate(chain, n_tokens)
        finally:
            llama_cpp.llama_sampler_free(chain)
        return watch.seconds / n_tokens


class _Llama:
    def __init__(self) -> None:
        self.model = load_model()
        self.llama: Any = make_llama(self.model, _PARAMS)

    def generate(self, n_prompt: int, sampling: SamplingParams, n_tokens: int) -> float:
        tokens = prompt_tokens(self.model, n_prompt)
        if list(self.llama.eval_tokens)[:n_prompt] != tokens:
            self.llama.reset()
            self.llama.eval(tokens)
        with Stopwatch() as watch:
            answer = self.llama.create_completion(
                tokens,
                max_tokens=n_tokens,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
            )
        return watch.seconds / int(answer["usage"]["completion_tokens"])


@contextlib.contextmanager
def _ways() -> Iterator[dict[str, Hosted]]:
    with (
        hosted(_Ours) as ours,
        hosted(_Bare) as bare,
        hosted(_Llama) as llama,
    ):
        yield {"Context.generate": ours, "bare loop": bare, "create_completion": llama}


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    n_tokens = effort.scaled(_TOKENS)
    table = Table("Generation, tokens a second", f"{n_tokens} tokens, SmolLM2-135M Q4_1, f16 cache")
    cases = [(effort.shortened(depth), name) for depth in _DEPTHS for name in _SAMPLINGS]
    races: dict[tuple[int, str], list[Race]] = {case: [] for case in cases}
    n_processes = min(_PROCESSES, effort.rounds)
    for _ in range(n_processes):
        with _ways() as ways:
            for depth, name in cases:
                competing = {
                    way: host.way("generate", depth, _SAMPLINGS[name], n_tokens)
                    for way, host in ways.items()
                }
                races[depth, name].append(race(competing, -(-effort.rounds // n_processes)))
    for (depth, name), parts in races.items():
        result, case = Race.joined(parts), f"{name}, from token {depth:,}"
        ours, bare, llama = result.seconds
        table.add(compared(result, case, ours, bare, per_second=1, target=0.97))
        table.add(compared(result, case, ours, llama, per_second=1, target=1.0))
    return [table]
