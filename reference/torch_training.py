"""Training in parallel: the same weights, batches and updates, ours and torch's, loss by loss.

Letters: T time steps, B batch rows, F features, K classes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.batches import pad, shuffled
from lstm_scratch.corpus import read_corpus
from lstm_scratch.layers.loss import cross_entropy_backward, cross_entropy_forward
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from lstm_scratch.optim import AdamW, clip_gradient_norm, one_cycle
from lstm_scratch.params import Params, to_torch_names

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (T, B, F), lengths (B,), classes (B,)

PEAK_RATE, WEIGHT_DECAY, MAX_NORM, LABEL_SMOOTHING = 4e-3, 0.01, 1.0, 0.1
LIMIT = 1e-9  # how far two losses may be apart, relative to their size


def worst_difference(recordings: Path, updates: int = 300, engine: str = "numpy") -> float:
    """Train on real features, ours and torch's, in float64, and compare every loss.

    Parameters
    ----------
    recordings : path
        A folder or manifest, as of `read_corpus`. Every fifth recording is used.
    updates : int, default 300
        How many.
    engine : str, default "numpy"
        Who computes ours.

    Returns
    -------
    float
        The largest difference between two losses, relative to torch's.
    """
    corpus = read_corpus(recordings)
    classes, targets = np.unique(corpus.labels[::5], return_inverse=True)
    sequences = AudioClassifier(sample_rate=8000).extract(corpus.paths[::5])
    steps = np.concatenate(sequences).astype(np.float64)
    mean, scale = steps.mean(axis=0), steps.std(axis=0)
    sequences = [(sequence - mean) / scale for sequence in sequences]
    rng = np.random.default_rng(0)
    network = Network(LSTM(steps.shape[1], 24, bidirectional=True, engine=engine), len(classes))
    batches: list[Batch] = []
    while len(batches) < updates:
        batches += [
            (*pad([sequences[n] for n in batch]), targets[batch])
            for batch in shuffled(len(sequences), 16, rng)
        ]
    batches = batches[:updates]
    params = network.init(rng, np.float64)
    with threadpool_limits(1):  # more are slower on matrices of this size, in torch too
        ours = np.array(list(our_losses(network, params, batches)))
        theirs = np.array(list(torch_losses(network, params, batches)))
    return float(np.max(np.abs(ours - theirs) / theirs))


def our_losses(network: Network, params: Params, batches: Sequence[Batch]) -> Iterator[float]:
    """Train our network, one update per batch.

    Parameters
    ----------
    network : Network
        What to train; nothing is dropped.
    params : dict
        Parameters to start from, float64. They are left as they are.
    batches : sequence of (x, lengths, classes)
        The training data.

    Yields
    ------
    float
        The loss of every batch, before its update.
    """
    params = {name: array.copy() for name, array in params.items()}
    optimiser = AdamW(weight_decay=WEIGHT_DECAY)
    for n, (x, lengths, classes) in enumerate(batches):
        logits, cache = network.forward(params, x, lengths)
        loss, loss_cache = cross_entropy_forward(logits, classes, LABEL_SMOOTHING)
        yield loss
        _, grads = network.backward(params, cache, cross_entropy_backward(loss_cache))
        clip_gradient_norm(grads, MAX_NORM)
        optimiser.step(params, grads, one_cycle(n, len(batches), PEAK_RATE))


def torch_losses(network: Network, params: Params, batches: Sequence[Batch]) -> Iterator[float]:
    """Train the same network in torch.

    Parameters
    ----------
    network : Network
        Sizes; with mean pooling.
    params : dict
        Parameters to start from, float64.
    batches : sequence of (x, lengths, classes)
        The training data.

    Yields
    ------
    float
        The loss of every batch, before its update.
    """
    import torch

    sizes = network.lstm
    lstm = torch.nn.LSTM(
        sizes.input_size,
        sizes.hidden_size,
        num_layers=sizes.num_layers,
        bidirectional=sizes.bidirectional,
        dtype=torch.float64,
    )
    linear = torch.nn.Linear(sizes.output_size, network.n_classes, dtype=torch.float64)
    module = torch.nn.ModuleDict({"lstm": lstm, "linear": linear})
    module.load_state_dict({name: torch.tensor(array) for name, array in to_torch_names(params).items()})
    for name, parameter in lstm.named_parameters():
        parameter.requires_grad_(not name.startswith("bias_hh"))  # we have one bias
    trained = [p for p in module.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(trained, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adamw, max_lr=PEAK_RATE, total_steps=len(batches), cycle_momentum=False
    )
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    for n, (x, lengths, classes) in enumerate(batches):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(x), torch.tensor(lengths), enforce_sorted=False
        )
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(packed)[0])
        loss = criterion(linear(y.sum(dim=0) / torch.tensor(lengths)[:, None]), torch.tensor(classes))
        yield loss.item()
        adamw.zero_grad()
        loss.backward()
        grads = [p.grad for p in trained if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.cat([grad.ravel() for grad in grads]))
        for grad in grads:
            grad *= (MAX_NORM / norm).clamp(max=1)  # torch's own clipping adds 1e-6 to the norm
        adamw.step()
        if n + 1 < len(batches):
            schedule.step()
