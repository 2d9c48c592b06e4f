import threading
import time
from collections import Counter
from itertools import count, islice

import pytest

from geosr import engine, pools


def slow_when_even(number):
    time.sleep(0.002 * (number % 2 == 0))
    return number * number


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_tasks(workers):
    expected = [(n, n * n) for n in range(20)]
    if not workers:
        assert list(engine.run(slow_when_even, range(20))) == expected
        return
    with pools.threads(workers) as pool:
        assert list(engine.run(slow_when_even, range(20), pool)) == expected


def test_no_more_tasks_than_ahead_are_in_flight_even_of_endless_ones():
    flying, most, lock = [0], [0], threading.Lock()
    taken = []

    def work(number):
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        time.sleep(0.001)
        with lock:
            flying[0] -= 1
        return number

    def tasks():
        for number in count():
            taken.append(number)
            yield number

    with pools.threads(2) as pool:
        got = list(islice(engine.run(work, tasks(), pool), 10))
    assert [result for _, result in got] == list(range(10))
    assert most[0] <= 2
    assert len(taken) <= 10 + pool.ahead


def test_an_error_of_a_task_comes_in_its_turn_and_stops_the_rest():
    done = []

    def work(number):
        if number == 3:
            raise RuntimeError("three")
        time.sleep(0.001)
        return number

    with pools.threads(2) as pool, pytest.raises(RuntimeError, match="three"):
        for task, _ in engine.run(work, range(1000), pool):
            done.append(task)
    assert done == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_that_are_expected_come_in_place_of_results_and_others_are_raised(workers):
    def work(number):
        if number == 2:
            raise KeyError(number)
        if number == 4:
            raise RuntimeError("four")
        return number

    got = []
    with pools.threads(max(workers, 1)) as pool, pytest.raises(RuntimeError, match="four"):
        for _, result in engine.tried(work, range(9), pool if workers else None, errors=KeyError):
            got.append(type(result))
    assert got == [int, int, KeyError, int]


def test_what_fails_after_another_is_done_once_more():
    tries = Counter()

    def work(number):
        tries[number] += 1
        if number == 1 or (number == 2 and tries[number] == 1) or number == 4:
            raise KeyError(number)
        return number

    with pools.threads(2) as pool:
        got = [result for _, result in engine.tried(work, range(6), pool, errors=KeyError)]
    assert [type(result) for result in got] == [int, KeyError, int, int, KeyError, int]
    assert tries == {0: 1, 1: 1, 2: 2, 3: 1, 4: 2, 5: 1}
