"""Several processes that train at once, each on one GPU where there are any."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import TypeVar

import torch

P = TypeVar("P")
R = TypeVar("R")


def in_processes(work: Callable[[P], R], plans: Sequence[P], jobs: int) -> Iterator[tuple[P, R]]:
    """Yield each plan with what came of it, in the order in which they are done.

    Args:
        work: what is called in a process, on a plan; both and the result can be pickled.
        plans: begun in this order.
        jobs: how many processes.

    Raises:
        Exception: what a plan raised; those that are not begun yet are given up.
    """
    context = get_context("spawn")
    devices = context.Queue()
    for number in range(jobs):
        devices.put(number)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=take_device, initargs=(devices,)) as pool:
        running = {pool.submit(work, plan): plan for plan in plans}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def take_device(numbers: "Queue[int]") -> None:
    """Let this process see one GPU alone: the next in turn of those that are visible; without any, change nothing.

    Called before CUDA is touched, after which it would have no effect.
    """
    number = numbers.get()
    chosen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    visible = chosen or [str(index) for index in range(torch.cuda.device_count())]
    if visible:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
