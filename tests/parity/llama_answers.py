"""Run by an interpreter that has llama.cpp: `llama_answers.py FILE.gguf QUESTION.json ANSWER.json`.

A question has `ids`, to be answered with float32 `logits` [N, V], or `text`, to be answered with the ids of it. What
llama.cpp rounds by choice is off: the cache is float32, and there is no flash attention.
"""

import json
import sys
from pathlib import Path

import llama_cpp

path, question, answer = sys.argv[1:]
asked = json.loads(Path(question).read_text())
model = llama_cpp.Llama(
    model_path=path,
    n_ctx=256,
    n_batch=256,
    n_ubatch=256,
    n_threads=1,
    n_threads_batch=1,
    type_k=0,
    type_v=0,
    flash_attn=False,
    logits_all=True,
    use_mmap=False,
    verbose=False,
)
if "ids" in asked:
    model.eval(asked["ids"])
    given = {"logits": model.scores[: len(asked["ids"])].tolist()}
else:
    given = {"ids": model.tokenize(asked["text"].encode(), add_bos=False, special=False)}
Path(answer).write_text(json.dumps(given))
