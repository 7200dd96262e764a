"""Random bytes: never the same ones twice, after a fork neither."""

import os

from thermocline.adapters.entropy import BLOCK_BYTES, SystemEntropy


def test_no_two_calls_share_bytes() -> None:
    entropy = SystemEntropy()
    seen = {entropy(16) for _ in range(2000)}
    assert len(seen) == 2000
    assert len(entropy(0)) == 0
    assert len(entropy(BLOCK_BYTES + 1)) == BLOCK_BYTES + 1


def test_a_forked_child_draws_its_own() -> None:
    entropy = SystemEntropy()
    entropy(16)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, entropy(16))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 16)
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 16
    assert theirs != entropy(16)
