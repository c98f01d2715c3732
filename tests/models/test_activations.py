import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from study.models import activations

X = mx.concatenate([mx.linspace(-12, 12, 2001), mx.array([-200.0, -90.0, 0.0, 90.0, 200.0])])


def silu(x: mx.array) -> mx.array:
    return x * mx.sigmoid(x)


def gelu(x: mx.array) -> mx.array:
    return 0.5 * x * (1 + mx.tanh(np.sqrt(2 / np.pi).item() * (x + 0.044715 * x * x * x)))


@pytest.mark.parametrize(("ours", "theirs"), [(activations.silu, silu), (activations.gelu_approx, gelu)])
def test_values_and_gradients_equal_the_definition(ours, theirs):
    np.testing.assert_allclose(ours(X), theirs(X), atol=3e-6, rtol=3e-6)
    inner = X[:-5]
    weights = mx.cos(inner)
    mine, reference = (mx.grad(lambda x, f=f: (weights * f(x)).sum())(inner) for f in (ours, theirs))
    np.testing.assert_allclose(mine, reference, atol=3e-6)


def test_far_from_zero_nothing_overflows():
    for function in (activations.silu, activations.gelu_approx):
        assert mx.isfinite(mx.grad(lambda x, f=function: f(x).sum())(X)).all()
        assert function(X)[-1].item() == 200.0
        assert abs(function(X)[-5].item()) == 0.0


def test_exp_equals_numpys():
    x = mx.linspace(-80, 20, 4001)
    np.testing.assert_allclose(activations.exp(x), np.exp(np.array(x, np.float64)), rtol=5e-6)


def test_on_a_linux_cpu_models_use_them():
    slow = activations._is_slow()
    assert (nn.silu is activations.silu) == slow
    assert (nn.gelu_approx is activations.gelu_approx) == slow
