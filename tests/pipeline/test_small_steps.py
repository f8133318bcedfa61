"""What a step keeps for later, so that small steps have little to do: counted in bunches, to the same result."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.training.row_digest import RowDigest, RowsSeen, step_part
from pipeline.training.seen_steps import SeenSteps
from pipeline.training.train_auc import TrainAuc

COUNT_FAULTS = """
import resource
from data.freed_memory import give_back_freed_memory
from pipeline.allocation import keep_freed_memory

def faults_of_a_block():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert faults_of_a_block() > 10_000 and faults_of_a_block() > 10_000  # 64 MiB are 16,384 pages
assert keep_freed_memory()
faults_of_a_block()
assert faults_of_a_block() < 1000, "the block came from the kernel again"
give_back_freed_memory()
assert faults_of_a_block() > 10_000, "the block was kept"
"""


def test_a_freed_block_is_taken_again_without_asking_the_kernel_until_it_is_given_back() -> None:
    subprocess.run([sys.executable, "-c", COUNT_FAULTS], check=True, timeout=60)


WATCH_A_CREEPING_HEAP = """
import psutil
from pipeline.allocation import HeapWatch, keep_freed_memory

def resident():
    return psutil.Process().memory_info().rss

def take_and_free():
    b"x" * (200 << 20)

keep_freed_memory()
watch, before = HeapWatch(), resident()
watch.look(before)
watch.look(before)
take_and_free()
assert resident() > before + (190 << 20)
watch.look(resident())
assert resident() < before + (20 << 20), "what was freed was not given back"
take_and_free()  # again: so a step needs it
watch.look(resident())
watch.look(resident())
assert resident() > before + (190 << 20), "what every step takes was given back again"
"""


def test_memory_that_creeps_up_is_given_back_and_what_steps_need_is_kept() -> None:
    subprocess.run([sys.executable, "-c", WATCH_A_CREEPING_HEAP], check=True, timeout=60)


COUNT_LARGE_PAGES = """
import re
from pathlib import Path
import pipeline
import torch

block = torch.ones(32 << 20)  # 128 MiB
in_large_pages = int(re.search(r"AnonHugePages:\\s+(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1])
assert in_large_pages >= 32 << 10, f"{in_large_pages} KiB in large pages"  # a quarter, where memory is in pieces
"""


def test_tensors_lie_in_large_pages_where_the_kernel_gives_them() -> None:
    kernel = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not kernel.exists() or "[never]" in kernel.read_text():
        pytest.skip("the kernel gives no large pages here")
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    subprocess.run([sys.executable, "-c", COUNT_LARGE_PAGES], env=environment, check=True, timeout=60)


def digests() -> list[RowsSeen]:
    """On a rank: of 5 steps of 7,000 rows and 3 of 40,000, asked for at the end and after every step."""
    steps = [torch.arange(7000) * (step + 3) for step in range(5)] + [torch.arange(40_000) + step for step in range(3)]
    at_once, one_by_one = RowDigest(RowsSeen(), rank=0), RowDigest(RowsSeen(), rank=0)
    for row_ids in steps:
        at_once.add(row_ids)
        one_by_one.add(row_ids)
        one_by_one.seen()
    return [at_once.seen(), one_by_one.seen(), RowsSeen("", int(step_part(steps[-1], 0)))]


def test_the_digest_of_rows_is_that_of_its_steps_however_many_are_counted_at_once(
    run_on_ranks: Callable[..., list[Any]],
) -> None:
    ((at_once, one_by_one, last),) = run_on_ranks(1, digests)
    assert at_once == one_by_one
    assert at_once.last_step == last.last_step


def bounds() -> list[dict[str, float]]:
    """On a rank: the AUC of 50,000 rows that came as one batch, and in batches of 300 and of the rest."""
    generator = torch.Generator().manual_seed(5)
    logits, labels = torch.randn(50_000, generator=generator), (torch.rand(50_000, generator=generator) < 0.3).float()
    found = []
    for sizes in ([50_000], [300] * 100 + [20_000]):
        auc = TrainAuc(torch.device("cpu"))
        for one, other in zip(logits.split(sizes), labels.split(sizes), strict=True):
            auc.add(one, other)
        found.append(auc.take())
    return found


def test_the_auc_of_a_log_line_does_not_depend_on_the_batches(run_on_ranks: Callable[..., list[Any]]) -> None:
    ((as_one, in_many),) = run_on_ranks(1, bounds)
    assert as_one == in_many
    assert 0.4 < as_one["train/auc_low"] < as_one["train/auc_high"] < 0.6


def test_losses_are_kept_as_they_were_and_the_newest_is_looked_at() -> None:
    seen = SeenSteps(3, torch.device("cpu"))
    for step, loss in enumerate([0.25, 0.1]):
        seen.add(step, torch.tensor(loss))
    assert seen.last_is_finite()
    assert seen.mean() == torch.tensor([0.25, 0.1]).mean()
    seen.add(2, torch.tensor(float("inf")))
    assert not seen.last_is_finite()
    assert seen.first_bad() == (2, float("inf"))
