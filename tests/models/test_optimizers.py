import numpy as np
import pytest

from geosr import models


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (7, 7)])
def test_muon_s_steps_have_the_gradient_s_directions_at_one_length(shape):
    from geosr.models.optimizers import orthogonal

    matrix = np.random.default_rng(0).normal(size=shape).astype("float32")
    left, lengths, right = np.linalg.svd(matrix, full_matrices=False)
    output = left.T @ np.asarray(orthogonal(matrix)) @ right.T
    assert lengths.max() > 2 * lengths.min()
    assert np.diag(output) == pytest.approx(1, abs=0.35)
    assert np.abs(output - np.diag(np.diag(output))).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(models.MODELS))
def test_muon_moves_inner_kernels_alone_and_as_far_as_adam_would(name):
    import keras

    from geosr.models import optimizers

    rate = 1e-3
    starts, ends = {}, {}
    for kind in models.OPTIMIZERS:
        keras.utils.set_random_seed(0)
        model = models.build(name, 2)
        variables = model.trainable_variables
        starts[kind] = [np.array(variable) for variable in variables]
        gradients = [np.random.default_rng(i).normal(size=v.shape).astype("float32") for i, v in enumerate(variables)]
        optimizers.build(kind, rate, decay=0, clip=0, average=0).apply(gradients, variables)
        ends[kind] = [np.array(variable) for variable in variables]
    first, last = (variables[i].path.split("/")[0] for i in (0, -1))
    for i, variable in enumerate(variables):
        adam, muon = (ends[kind][i] - starts[kind][i] for kind in ("adamw", "muon"))
        if len(variable.shape) > 1 and variable.path.split("/")[0] not in (first, last):
            assert 0.1 * rate < np.sqrt((muon**2).mean()) < 0.3 * rate, variable.path
        else:
            np.testing.assert_array_equal(adam, muon, err_msg=variable.path)


def test_muon_looks_ahead_along_what_the_gradients_come_to():
    import keras

    from geosr.models import optimizers

    rng, rate = np.random.default_rng(0), 1e-2
    kernels = [keras.Variable(rng.normal(size=(4, 6)).astype("float32"), name=name) for name in ("in", "inner", "out")]
    start = np.array(kernels[1])
    optimizer = optimizers.build("muon", rate, decay=0.5, clip=0, average=0)
    momentum, reference = 0, start
    for gradient in rng.normal(size=(3, 4, 6)).astype("float32"):
        optimizer.apply([gradient] * 3, kernels)
        momentum = 0.95 * momentum + gradient
        step = 0.2 * 6**0.5 * np.asarray(optimizers.orthogonal(gradient + 0.95 * momentum))
        reference = reference * (1 - 0.5 * rate) - rate * step
    assert np.array(kernels[1]) == pytest.approx(reference, abs=1e-6)


@pytest.mark.parametrize(("name", "memory"), [("muon", 1.0), ("adamw", 0.1)])
def test_a_gradient_is_clipped_for_each_weight(name, memory):
    """What the optimizer remembers of the first gradient is that of a gradient of norm 1."""
    import keras

    from geosr.models import optimizers

    rng = np.random.default_rng(0)
    kernels = [keras.Variable(rng.normal(size=(4, 6)).astype("float32"), name=name) for name in ("in", "inner", "out")]
    gradients = [100 * rng.normal(size=(4, 6)).astype("float32") for _ in kernels]
    optimizer = optimizers.build(name, 1e-3, decay=0, clip=1.0, average=0)
    optimizer.apply(gradients, kernels)
    momenta = [np.array(variable) for variable in optimizer.variables if tuple(variable.shape) == (4, 6)]
    reference = memory * gradients[1] / np.linalg.norm(gradients[1])
    assert min(np.abs(value - reference).max() for value in momenta) < 1e-6
