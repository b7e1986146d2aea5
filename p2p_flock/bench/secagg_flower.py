"""Flower's side of ``scripts/bench secagg``: a process in Flower's environment that answers requests, one JSON a line.

Everything that is measured is Flower's own: the stage functions of its SecAgg+ mod for the client, and for the server
the loops of its workflow's ``collect_masked_vectors_stage`` and ``unmask_stage``, statement by statement, without the
messages around them. No network, no gRPC. Node IDs are positions + 1; ID, keys and shares are as Flower makes them.

``client`` measures one real client; its neighbors' keys and ciphertexts are real, the shares inside are random bytes,
which the client only stores. ``server`` runs the loops over simulated masked vectors: uniformly random, the last one
such that they add up to what real ones would. A loop is broken off when its time is up, and its cost multiplied up to
its full length; the answer says how much was done. ``full`` runs every client and every loop to the end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import flwr
import numpy as np
from flwr.client.mod.secure_aggregation.secaggplus_mod import (
    SecAggPlusState,
    _collect_masked_vectors,
    _setup,
    _share_keys,
    _unmask,
)
from flwr.common import bytes_to_ndarray, ndarray_to_bytes, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    factor_extract,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key
from numpy.typing import NDArray

from p2p_flock.bench.secagg_inputs import (
    CLIENT,
    Answer,
    Meter,
    Task,
    count_turns,
    digest_vectors,
    make_vectors,
    measure_peak,
    plain_mean,
    serve,
    settle,
)

CLIPPING_RANGE, TARGET_RANGE, MOD_RANGE = 8.0, 1 << 22, 1 << 32  # Flower's defaults
MAX_WEIGHT = 1.0  # with one example per client: the whole range for the values themselves
SHARE_HEAD_BYTES, SHARE_CHUNK_BYTES = 4, 16
CHECKED_MASK_VALUES_MAX = 300_000_000  # masks times d, up to which the simulated vectors are made to add up
SIMULATED_VALUES_MAX = 40_000_000  # in distinct simulated vectors together; 320 MB, and as much serialised

Vectors = list[NDArray[Any]]


class Clients:
    """Everybody's state after setup. Made once per task; the measured client starts anew every time."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.settings: Any = {
            Key.SAMPLE_NUMBER: task.members,
            Key.SHARE_NUMBER: task.holders,
            Key.THRESHOLD: task.threshold,
            Key.CLIPPING_RANGE: CLIPPING_RANGE,
            Key.TARGET_RANGE: TARGET_RANGE,
            Key.MOD_RANGE: MOD_RANGE,
            Key.MAX_WEIGHT: MAX_WEIGHT,
        }
        self.states = [self.make_state(position) for position in range(task.members)]

    def make_state(self, position: int) -> SecAggPlusState:
        state = SecAggPlusState()
        state.nid = position + 1
        _setup(state, self.settings)
        return state

    def neighbors(self, position: int) -> list[int]:
        """N[position] as the workflow builds it from a ring, itself included."""
        half, count = self.task.holders // 2, self.task.members
        if self.task.holders == count:
            return list(range(count))
        return sorted({(position + offset) % count for offset in range(-half, half + 1)})

    def public_keys(self, position: int) -> Any:
        return {str(p + 1): [self.states[p].pk1, self.states[p].pk2] for p in self.neighbors(position)}

    def parameters(self, position: int) -> Any:
        vectors = make_vectors(self.task.parameters, self.task.vector_count)
        return ndarrays_to_parameters([vectors[position % len(vectors)]])


def run_client(clients: Clients, meter: Meter) -> int:
    """All four stages of one client; bytes that it sends."""
    task = clients.task
    with meter.part("setup"):
        state = clients.states[CLIENT] = clients.make_state(CLIENT)
    keys = clients.public_keys(CLIENT)
    with meter.part("share"):
        shared = _share_keys(state, keys)
    others = [position for position in clients.neighbors(CLIENT) if position != CLIENT]
    arrived = _collect_config(others, [_seal_random_shares(clients, other, state) for other in others])
    parameters = clients.parameters(CLIENT)
    with meter.part("mask"):
        masked = _collect_masked_vectors(state, arrived, 1, parameters)
    lost = set(task.dropouts)
    request: Any = {
        Key.ACTIVE_NODE_ID_LIST: [p + 1 for p in clients.neighbors(CLIENT) if p not in lost],
        Key.DEAD_NODE_ID_LIST: [p + 1 for p in clients.neighbors(CLIENT) if p in lost],
    }
    with meter.part("answer"):
        answer = _unmask(state, request)
    sent = [state.pk1, state.pk2, *shared[Key.CIPHERTEXT_LIST], *masked[Key.MASKED_PARAMETERS], *answer[Key.SHARE_LIST]]
    return sum(map(len, sent))


def _collect_config(sources: Iterable[int], ciphertexts: list[bytes]) -> Any:
    return {Key.CIPHERTEXT_LIST: ciphertexts, Key.SOURCE_LIST: [position + 1 for position in sources]}


def _seal_random_shares(clients: Clients, source: int, receiver: SecAggPlusState) -> bytes:
    """What ``source`` sends to the measured client, with shares of the right length."""
    private = bytes_to_private_key(clients.states[source].sk2)
    key = generate_shared_key(private, bytes_to_public_key(receiver.pk2))
    lengths = [SHARE_HEAD_BYTES + SHARE_CHUNK_BYTES * _count_chunks(secret) for secret in (bytes(32), receiver.sk1)]
    plain = share_keys_plaintext_concat(source + 1, receiver.nid, os.urandom(lengths[0]), os.urandom(lengths[1]))
    return bytes(encrypt(key, plain))


def _count_chunks(secret: bytes) -> int:
    return len(secret) // SHARE_CHUNK_BYTES + 1  # padding adds a byte at least


# --- the server ------------------------------------------------------------------------------------------------------


class Server:
    """What the server of one cohort has received: masked vectors and, per secret, shares."""

    def __init__(self, clients: Clients) -> None:
        self.clients, self.task = clients, clients.task
        self.lost = set(self.task.dropouts)
        self.survivors = self.task.survivors
        self.seeds = {position: os.urandom(32) for position in self.survivors}
        pair_masks = len(self.lost) * (self.task.holders - 1)
        self.is_checked = (pair_masks + len(self.survivors)) * self.task.parameters <= CHECKED_MASK_VALUES_MAX
        self.vectors = self._simulate_vectors()

    def _simulate_vectors(self) -> list[list[bytes]]:
        """Per survivor what Flower's client would send, serialised; few distinct ones where they are long."""
        task, count = self.task, len(self.survivors)
        generator = np.random.default_rng(task.parameters)
        shapes = [(1,), (task.parameters,)]
        made = [
            [generator.integers(0, MOD_RANGE, shape, dtype=np.int64) for shape in shapes]
            for _ in range(min(count - 1, max(4, SIMULATED_VALUES_MAX // task.parameters)))
        ]
        held = [[ndarray_to_bytes(part) for part in vector] for vector in made]
        vectors = [held[index % len(held)] for index in range(count - 1)]
        last = made[0]
        if self.is_checked:
            last = self._sum_of_real()
            for index in range(count - 1):
                last = parameters_subtraction(last, made[index % len(made)])
            last = parameters_mod(last, MOD_RANGE)
        return [*vectors, [ndarray_to_bytes(part) for part in last]]

    def _sum_of_real(self) -> Vectors:
        """Σ quantised inputs + every mask that real vectors would leave in the sum."""
        task = self.task
        total: Vectors = [np.zeros(1, np.int64), np.zeros(task.parameters, np.int64)]
        for vector, turns in zip(make_vectors(task.parameters, task.vector_count), count_turns(task), strict=True):
            part = factor_combine(TARGET_RANGE, quantize([vector], CLIPPING_RANGE, TARGET_RANGE))
            total = parameters_addition(total, [value.astype(np.int64) * turns for value in part])
        for seed in self.seeds.values():
            total = parameters_addition(total, pseudo_rand_gen(seed, MOD_RANGE, get_parameters_shape(total)))
        for nid, other, secret in self.pair_masks():
            mask = _make_pair_mask(total, other, secret, self.clients)
            total = (parameters_subtraction if nid > other else parameters_addition)(total, mask)
        return total

    def pair_masks(self) -> list[tuple[int, int, bytes]]:
        """(dropout, neighbor, the dropout's secret key) in the order of the workflow's loops."""
        return [
            (position, other, self.clients.states[position].sk1)
            for position in sorted(self.lost)
            for other in self.clients.neighbors(position)
            if other != position
        ]

    def count_shares(self, position: int) -> int:
        """Shares of this member's secrets that arrive."""
        return sum(p not in self.lost for p in self.clients.neighbors(position))


def _make_pair_mask(total: Vectors, neighbor: int, secret: bytes, clients: Clients) -> Any:
    """The mask of a dropout, of which ``secret`` is the first private key, and its neighbor."""
    shared_key = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(clients.states[neighbor].pk1))
    return pseudo_rand_gen(shared_key, MOD_RANGE, get_parameters_shape(total))


def take_pair_mask_off(total: Vectors, nid: int, neighbor: int, secret: bytes, clients: Clients) -> Vectors:
    """The body of the workflow's inner loop over a dropout's neighbors."""
    pairwise_mask = _make_pair_mask(total, neighbor, secret, clients)
    if nid > neighbor:
        return list(parameters_addition(total, pairwise_mask))
    return list(parameters_subtraction(total, pairwise_mask))


def take_self_mask_off(total: Vectors, secret: bytes) -> Vectors:
    """The body of the workflow's loop for a survivor."""
    private_mask = pseudo_rand_gen(secret, MOD_RANGE, get_parameters_shape(total))
    return list(parameters_subtraction(total, private_mask))


class Loop:
    """Measures a loop over ``count`` steps, or its beginning where that takes longer than ``seconds_max``."""

    def __init__(self, meter: Meter, name: str, count: int, seconds_max: float, steps_min: int = 3) -> None:
        self.meter, self.name, self.count = meter, name, count
        self.seconds_max, self.steps_min, self.done = seconds_max, steps_min, 0

    @contextmanager
    def step(self) -> Iterator[None]:
        with self.meter.part(self.name):
            yield
        self.done += 1

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.done >= self.steps_min and self.meter.parts[self.name][1] >= self.seconds_max

    def finish(self) -> tuple[int, int]:
        """(done, count); multiplies the part up to the whole loop."""
        if self.done:
            part = self.meter.parts[self.name]
            part[:] = [value * self.count / self.done for value in part]
        return self.done, self.count


def sum_vectors(server: Server, loop: Loop) -> Vectors:
    """The workflow's ``collect_masked_vectors_stage``."""
    total: Vectors = []
    for bytes_list in server.vectors:
        with loop.step():
            client_masked_vec = [bytes_to_ndarray(b) for b in bytes_list]
            total = parameters_addition(total, client_masked_vec) if total else client_masked_vec
        if loop.is_over:
            break
    with loop.meter.part("sum_modulo"):
        return list(parameters_mod(total, MOD_RANGE))


def combine(secrets: Sequence[tuple[bytes, int]], task: Task, loop: Loop) -> None:
    """Combine the shares of (secret, number of shares that arrived); only the combining is measured."""
    for secret, share_count in secrets:
        shares = create_shares(secret, task.threshold, task.holders)[:share_count]
        with loop.step():
            combined = combine_shares(shares)
        assert combined == secret
        if loop.is_over:
            break


def run_server(server: Server, meter: Meter, seconds_max: float, with_secrets: bool) -> Answer:
    """Sum, rebuild secrets, take masks off, dequantise; every loop for ``seconds_max`` and multiplied up."""
    task, clients = server.task, server.clients
    pairs = server.pair_masks()
    sums = Loop(meter, "sum", len(server.vectors), seconds_max)
    selves = Loop(meter, "masks_self", len(server.seeds), seconds_max)
    others = Loop(meter, "masks_pair", len(pairs), seconds_max)
    total = sum_vectors(server, sums)
    loops = [sums, selves, others]
    if with_secrets:  # one combination takes seconds where shares are many
        seeds = [(server.seeds[p], server.count_shares(p)) for p in server.survivors]
        keys = [(clients.states[p].sk1, server.count_shares(p)) for p in sorted(server.lost)]
        loops += [
            Loop(meter, "secrets_self", len(seeds), seconds_max, steps_min=1),
            Loop(meter, "secrets_keys", len(keys), seconds_max, steps_min=1),
        ]
        combine(seeds, task, loops[-2])
        combine(keys, task, loops[-1])
    for secret in server.seeds.values():
        with selves.step():
            total = take_self_mask_off(total, secret)
        if selves.is_over:
            break
    for pair in pairs:
        with others.step():
            total = take_pair_mask_off(total, *pair, clients)
        if others.is_over:
            break
    with meter.part("decode"):
        mean = _dequantise(total, len(server.survivors))
    answer: Answer = {"steps": {loop.name: loop.finish() for loop in loops}}
    if server.is_checked and all(loop.done == loop.count for loop in (sums, selves, others)):
        answer["error_max"] = float(np.max(np.abs(mean - plain_mean(task))))
    return answer


def _dequantise(total: Vectors, survivor_count: int) -> NDArray[Any]:
    recon_parameters = parameters_mod(total, MOD_RANGE)
    q_total_ratio, recon_parameters = factor_extract(recon_parameters)
    inv_dq_total_ratio = TARGET_RANGE / q_total_ratio
    aggregated_vector = dequantize(recon_parameters, CLIPPING_RANGE, TARGET_RANGE)
    offset = -(survivor_count - 1) * CLIPPING_RANGE
    for vec in aggregated_vector:
        vec += offset
        vec *= inv_dq_total_ratio
    mean: NDArray[Any] = aggregated_vector[0]
    return mean


def run_full(task: Task, meter: Meter) -> Answer:
    """Every client real, every loop to its end. The client measured is member ``CLIENT``."""
    clients = Clients(task)
    boxes: dict[int, list[tuple[int, bytes]]] = {position: [] for position in range(task.members)}
    for position, state in enumerate(clients.states):
        with meter.part("share" if position == CLIENT else "others"):
            sent = _share_keys(state, clients.public_keys(position))
        for nid, ciphertext in zip(sent[Key.DESTINATION_LIST], sent[Key.CIPHERTEXT_LIST], strict=True):
            boxes[nid - 1].append((position, ciphertext))
    server = Server.__new__(Server)
    server.clients, server.task, server.survivors, server.is_checked = clients, task, task.survivors, True
    server.lost, server.vectors = set(task.dropouts), []
    for position in task.survivors:
        sources, ciphertexts = zip(*boxes[position], strict=True)
        arrived, parameters = _collect_config(sources, list(ciphertexts)), clients.parameters(position)
        with meter.part("mask" if position == CLIENT else "others"):
            masked = _collect_masked_vectors(clients.states[position], arrived, 1, parameters)
        server.vectors.append(masked[Key.MASKED_PARAMETERS])
    server.seeds = {position: clients.states[position].rd_seed for position in task.survivors}
    return run_server(server, meter, float("inf"), with_secrets=True)


# --- requests --------------------------------------------------------------------------------------------------------

_clients: dict[Task, Clients] = {}
_servers: dict[Task, Server] = {}
_secrets_known: dict[tuple[object, ...], Answer] = {}


def _clients_of(task: Task) -> Clients:
    if task not in _clients:
        _clients.clear()
        _servers.clear()
        _clients[task] = Clients(task)
    return _clients[task]


def answer_hello() -> Answer:
    return {"flower": flwr.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}


def answer_inputs(task: Task) -> Answer:
    return {"digest": digest_vectors(task)}


def answer_client(task: Task, memory: bool = False) -> Answer:
    """One repetition; with ``memory`` its peak instead of its times."""
    clients, meter = _clients_of(task), Meter()
    if memory:
        return {"memory_peak_bytes": measure_peak(lambda: run_client(clients, Meter()))}
    settle()
    sent = run_client(clients, meter)
    return {"parts": meter.parts, "bytes": sent}


def answer_server(task: Task, seconds_max: float, memory: bool = False) -> Answer:
    """One repetition. Rebuilding secrets does not depend on d: it is measured once per graph and dropouts."""
    if task not in _servers:
        _servers.clear()
        _servers[task] = Server(_clients_of(task))
    server, meter = _servers[task], Meter()
    if memory:
        peak = measure_peak(lambda: run_server(server, Meter(), 0.0, with_secrets=False))
        return {"memory_peak_bytes": peak}
    settle()
    key = (task.members, task.holders, task.threshold, task.dropouts)
    answer = run_server(server, meter, seconds_max, with_secrets=key not in _secrets_known)
    if key not in _secrets_known:
        names = [name for name in meter.parts if name.startswith("secrets")]
        _secrets_known[key] = {name: (meter.parts[name], answer["steps"][name]) for name in names}
    for name, (part, steps) in _secrets_known[key].items():
        meter.parts[name], answer["steps"][name] = part, steps
    return {"parts": meter.parts, **answer}


def answer_full(task: Task) -> Answer:
    settle()
    meter = Meter()
    answer = run_full(task, meter)
    return {"parts": meter.parts, **answer}


if __name__ == "__main__":
    serve(
        {
            "hello": answer_hello,
            "inputs": answer_inputs,
            "client": answer_client,
            "server": answer_server,
            "full": answer_full,
        }
    )
