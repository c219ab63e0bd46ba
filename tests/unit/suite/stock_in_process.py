"""Ask lm-eval's own tasks where sockets refuse to connect; print what happened as JSON.

test_stock.py runs it as a separate process: sockets are blocked before anything is imported,
because lm-eval's modules would download on import.
"""

# ruff: noqa: E402

import json
import socket
import sys
from pathlib import Path
from unittest import mock

connections = []


def refuse(*arguments, **_):
    connections.append(str(arguments))
    raise OSError("no network here")


socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

folder, answers = Path(sys.argv[1]), json.loads(sys.argv[2])
from sft_tradeoff.suite import human_eval, stock
from sft_tradeoff.suite.base import TaskOptions
from sft_tradeoff.suite.items import BenchmarkError


def items_of(name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


out = {"refused": {}}
for name in ("ifeval", "gone", "unknown", "argument"):
    try:
        stock.stock_task("ifeval", items_of(name), TaskOptions(None, False))
    except BenchmarkError as error:
        out["refused"][name] = str(error)
(folder / "later").rename(folder / "local")

human_eval.require_sandbox = lambda: None  # without one, scores are NaN and the rest is the same

from lm_eval import evaluator
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager, _yaml_loader

from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenizer import load_tokenizer

build_model("random-2layer", ModelSpec(format="random"), None, folder / "model")
tokenizer = load_tokenizer(folder / "model")


class Scripted(LM):
    tokenizer_name = "scripted"
    loglikelihood = loglikelihood_rolling = None

    def generate_until(self, requests):
        return [answers[r.task_name][r.doc["id"]] for r in requests]

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )


Scripted.__abstractmethods__ = frozenset()

programs = []


def recording(program, limits, run=human_eval.run_python):
    programs.append(program)
    return run(program, limits)


human_eval.run_python = recording
manager = TaskManager(include_defaults=False)


def ask(tasks, chat=False, **options):
    loaded = manager.load(tasks)
    for task in loaded["tasks"].values():  # as evaluation/tasks.py does
        task.set_fewshot_seed(1234)
    samples = evaluator.evaluate(
        Scripted(),
        loaded,
        bootstrap_iters=0,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        **options,
    )["samples"]
    return {
        n: [
            {
                "id": s["doc"]["id"],
                "filter": s["filter"],
                "prompt": s["arguments"][0][0],
                "options": s["arguments"][0][1],
            }
            for s in log
        ]
        for n, log in samples.items()
    }, {n: stock.stock_rows(n, log) for n, log in samples.items()}


def tasks(names):
    return [stock.stock_task(n, items_of(n), TaskOptions(None, True)) for n in names]


plain = ("ifeval", "gsm8k", "humaneval")
chat = ("ifeval", "gsm8k", "humaneval_instruct")
out["plain"], out["rows"] = ask(tasks(plain))
out["chat"], out["chat_rows"] = ask(tasks(chat), chat=True)
out["first"], _ = ask(tasks(["gsm8k"]), samples={"gsm8k": [0, 1]})
out["connections"] = list(connections)


def fail(*_):
    raise human_eval.SandboxError("exit code -9")


with mock.patch.object(human_eval, "run_python", fail):
    out["untested"] = [
        row
        for n in ("humaneval", "humaneval_instruct")
        for row in ask(tasks([n]), chat=n != "humaneval")[1][n]
    ]
lost = {"id": "1", "key": 1, "prompt": "", "instruction_id_list": ["a:b", "c:d"], "kwargs": []}
graded = stock._grade(lost, ["x"])
out["broken"] = stock.stock_rows(
    "ifeval", [{"doc": lost, "filter": "none", "metrics": list(graded), **graded}]
)

# lm-eval's own definitions, their functions resolved; HumanEval's scorer would be downloaded.
sys.modules["evaluate"] = mock.Mock()
files = {n: Path(_yaml_loader.__file__).parent / s.file for n, s in stock.STOCK.items()}
own = {n: _yaml_loader.load_yaml(file) for n, file in files.items()}
ours = {t["task"]: t for t in tasks(stock.STOCK)}


def simple(task):
    return {
        k: v
        for k, v in task.items()
        if isinstance(v, (str, int, list, dict))
        and k
        not in (
            "tag",
            "dataset_path",
            "dataset_name",
            "metadata",
            "metric_list",
            "filter_list",
            "unsafe_code",
        )
    }


out["same"] = {n: simple(ours[n]) == simple(own[n]) for n in own}
out["kept"] = {n: sorted(simple(ours[n])) for n in own}
out["same_scoring"] = {
    "gsm8k": [ours["gsm8k"][k] == own["gsm8k"][k] for k in ("metric_list", "filter_list")],
    "ifeval": [
        {m["metric"] for m in ours["ifeval"]["metric_list"]}
        == {m["metric"] for m in own["ifeval"]["metric_list"]}
    ],
}
out["metadata"] = {n: t["metadata"] for n, t in ours.items()}
# The same programs as lm-eval would run: its prediction, then its target.
utils = sys.modules["lm_eval.tasks.humaneval.utils"]
builders = {
    "humaneval": utils.build_predictions,
    "humaneval_instruct": utils.build_predictions_instruct,
}
docs = [json.loads(line) for line in (folder / "humaneval.jsonl").read_text().splitlines()]
docs.sort(key=lambda doc: doc["row"])
out["programs"] = programs
out["own_programs"] = [
    builder([[answers[name][doc["id"]]]], [doc])[0][0]
    + f"\n{doc['test']}\ncheck({doc['entry_point']})"
    for name, builder in builders.items()
    for doc in docs
]
# lm-eval's gsm8k, seeded as simple_evaluate seeds it.
reference = {**own["gsm8k"], "custom_dataset": ours["gsm8k"]["custom_dataset"]}
loaded = manager.load([reference])
loaded["tasks"]["gsm8k"].set_fewshot_seed(1234)
log = evaluator.evaluate(Scripted(), loaded, bootstrap_iters=0)["samples"]["gsm8k"]
out["own_gsm8k"] = [s["arguments"][0][0] for s in log]
print("\n" + json.dumps(out))
