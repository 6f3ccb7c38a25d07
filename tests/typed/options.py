"""What a type checker says of options: mypy reads this with the package, and nothing runs it.

Every line that must be an error says so, and mypy reports what is ignored without need.
"""

from __future__ import annotations

from typing_extensions import assert_type

from mullama_nb import (
    Chat,
    Completion,
    Context,
    ContextParams,
    Model,
    SamplingParams,
    SpawnedPool,
    Turn,
)


def chats(model: Model) -> None:
    Chat(model, "Be brief.", n_ctx=512, temperature=0, kv_cache_type=("q8_0", "f16"))
    Chat(model, n_cxt=512)  # type: ignore[call-arg]
    Chat(model, n_ctx="512")  # type: ignore[arg-type]
    Chat(model, max_tokens=5)  # type: ignore[call-arg]
    Chat.from_messages(model, [], system="Be brief.", tools=None, max_bytes=10**9, seed=None)
    Chat.from_messages(model, [], sytem="Be brief.")  # type: ignore[call-arg]
    Chat.from_transcript(model, "said.json", index=0, tools=None, seed=None)
    Chat.from_transcript(model, "said.json", idx=0)  # type: ignore[call-arg]
    assert_type(Chat.open("lesson", temperature=1, max_bytes=10**9), Chat)
    Chat.open("lesson", temprature=1)  # type: ignore[call-arg]
    Chat.open("lesson", system="Be brief.")  # type: ignore[call-arg]
    Chat.open_or_create("lesson", model, system="Be brief.", n_ctx=512)
    Chat.open_or_create("lesson", model, n_cxt=512)  # type: ignore[call-arg]


def answers(chat: Chat) -> None:
    assert_type(chat.ask("x", temperature=1, max_tokens=5, stop="\n", echo=False), Turn)
    chat.ask("x", temprature=1)  # type: ignore[call-arg]
    chat.ask("x", temperature="1")  # type: ignore[arg-type]
    chat.ask("x", n_ctx=512)  # type: ignore[call-arg]
    chat.ask("x", on_token=lambda token: token.logprob)
    chat.ask("x", on_token=lambda token: token.lobprob)  # type: ignore[attr-defined]
    chat.regenerate(top_k=3, logit_bias={3: -1.0})
    chat.regenerate(topk=3)  # type: ignore[call-arg]
    chat.edit("x", json_schema={"type": "object"})
    chat.edit("x", schema={"type": "object"})  # type: ignore[call-arg]
    chat.resume(max_tokens=None)
    chat.resume(max_token=None)  # type: ignore[call-arg]
    chat.fork("HEAD", token=3, choose=" not", seed=1)
    chat.fork("HEAD", token=3, sed=1)  # type: ignore[call-arg]
    chat.explore("x", 4, stop=["a", "b"], exact=True, min_p=0.1)
    chat.explore("x", 4, executor=SpawnedPool(2))
    chat.explore("x", 4, executor=2)  # type: ignore[arg-type]
    chat.explore("x", 4, echo=True)  # type: ignore[call-arg]


async def answers_for_asyncio(chat: Chat) -> None:
    assert_type(await chat.aask("x", temperature=1), Turn)
    await chat.aask("x", temprature=1)  # type: ignore[call-arg]
    await chat.aexplore("x", n=4, temperature=1)
    await chat.aexplore("x", n=4, temprature=1)  # type: ignore[call-arg]
    async for _ in chat.astream("x", temperature=1):
        break
    chat.astream("x", temprature=1)  # type: ignore[call-arg]
    chat.astream("x", on_token=print)  # type: ignore[call-arg]


async def contexts(context: Context) -> None:
    assert_type(context.generate("x", 5, stop="\n", temperature=1), Completion)
    context.generate("x", temprature=1)  # type: ignore[call-arg]
    context.generate("x", top_k=0.5)  # type: ignore[arg-type]
    context.stream("x", 5, typical_p=0.5)
    context.stream("x", 5, typical=0.5)  # type: ignore[call-arg]
    context.explore(4, 5, temperature=1)
    context.explore(4, 5, temprature=1)  # type: ignore[call-arg]
    assert_type(await context.agenerate("x", 5, messages=None, temperature=1), Completion)
    await context.agenerate("x", temprature=1)  # type: ignore[call-arg]
    assert_type(await context.aevaluate("x", special=False), int)
    await context.aevaluate("x", temperature=1)  # type: ignore[call-arg]
    context.astream("x", temperature=1)
    context.astream("x", temprature=1)  # type: ignore[call-arg]


def parameters() -> None:
    ContextParams().with_changes(n_ctx=512)
    ContextParams().with_changes(n_cxt=512)  # type: ignore[call-arg]
    SamplingParams().with_changes(temperature=1)
    SamplingParams().with_changes(temprature=1)  # type: ignore[call-arg]
