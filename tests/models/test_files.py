import dataclasses
import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from geosr import models
from geosr.cli.main import main
from geosr.errors import ModelError, OptionError
from geosr.models import cards
from geosr.rasters.radiometry import PERCENTILES, fixed
from geosr.rasters.resample import enlarge
from geosr.superresolve import upscalers

ARCHITECTURES = [(name, scale, bands) for name in models.MODELS for scale in (2, 3, 4) for bands in (1, 3)]
RADII = {("idn", 2): 30, ("idn", 3): 29, ("idn", 4): 28}
RADII |= {(name, scale): 21 for name in ("span", "span_wide") for scale in (2, 3, 4)}
every = pytest.mark.parametrize(("name", "scale", "bands"), ARCHITECTURES)


@every
def test_shapes_and_finite_output(name, scale, bands):
    model = models.build(name, scale, bands)
    output = np.asarray(model(np.random.default_rng(0).random((2, 17, 23, bands), "float32")))
    assert output.shape == (2, 17 * scale, 23 * scale, bands)
    assert np.isfinite(output).all()
    assert models.shape(model) == (scale, bands)


@every
def test_every_weight_has_a_gradient(name, scale, bands):
    import tensorflow as tf

    model = models.build(name, scale, bands)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(tf.random.uniform((1, 32, 32, bands), seed=1))))
    for weight, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.slow
@every
def test_saved_and_loaded_safely_it_is_the_same_function(name, scale, bands, tmp_path):
    model = models.build(name, scale, bands)
    models.save(model, tmp_path / "m.keras")
    copy = models.load(tmp_path / "m.keras")
    x = np.random.default_rng(0).random((1, 16, 16, bands), "float32")
    assert np.allclose(model(x), copy(x), atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", list(models.MODELS))
def test_the_radius_from_the_layers_is_the_reach_of_a_change(name, scale):
    import tensorflow as tf

    model = models.build(name, scale)
    radius = models.receptive_radius(model)
    assert radius == RADII[name, scale]
    rng = np.random.default_rng(0)
    # Positive and of mean 1 over what goes in, so that nothing cancels, vanishes or grows on the way.
    positive = [
        (rng.random(w.shape) + 0.5) / np.prod(w.shape[:-1]) if w.ndim > 1 else w * 0 for w in model.get_weights()
    ]
    model.set_weights(positive)
    side = 2 * radius + 21
    x = tf.ones((1, side, side, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        middle = slice(side // 2 * scale, (side // 2 + 1) * scale)
        total = tf.reduce_sum(model(x)[:, middle, middle])
    rows, cols = np.nonzero(np.asarray(tape.gradient(total, x))[0, ..., 0])
    assert max(np.abs(rows - side // 2).max(), np.abs(cols - side // 2).max()) == radius


def test_the_radius_of_an_even_kernel_is_its_longer_side():
    import keras

    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Conv2D(1, 4, padding="same")(inputs)
    assert models.receptive_radius(keras.Model(inputs, outputs)) == 2


def test_idn_has_the_paper_s_size():
    assert models.build("idn", 2).count_params() == 552_769


def test_a_grouped_convolution_is_keras_s_own():
    import keras

    from geosr.models.layers import GroupedConv2D

    mine, theirs = GroupedConv2D(32, 3, 4), keras.layers.Conv2D(32, 3, padding="same", groups=4)
    x = np.random.default_rng(0).random((1, 9, 9, 48), "float32")
    mine(x), theirs(x)
    theirs.set_weights([mine.get_weights()[0], np.arange(32.0)])
    mine.set_weights(theirs.get_weights())
    assert mine.count_params() == theirs.count_params()
    assert np.allclose(mine(x), theirs(x), atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_transposed_convolution_is_caffe_s_moved_to_the_pixels_of_the_enlarged_grid(scale):
    from geosr.models.layers import SubpixelTransposed

    layer = SubpixelTransposed(1, 17, scale)
    x = np.random.default_rng(0).random((1, 12, 13, 2), "float32")
    output = np.asarray(layer(x))[0, ..., 0]
    kernel = layer.get_weights()[0][..., 0]
    full = np.zeros(((12 - 1) * scale + 17, (13 - 1) * scale + 17))
    for i in range(12):
        for j in range(13):
            full[i * scale : i * scale + 17, j * scale : j * scale + 17] += kernel @ x[0, i, j]
    caffe = full[8:-8, 8:-8]  # pad: 8
    assert np.allclose(output[scale - 1 :, scale - 1 :], caffe, atol=1e-6)


@given(st.integers(2, 4), st.integers(2, 12), st.integers(2, 12), st.integers(1, 3))
def test_the_bicubic_layer_is_the_one_bicubic(scale, rows, cols, bands):
    from geosr.models.layers import Bicubic

    block = np.random.default_rng(rows).random((bands, rows, cols), "float32")
    output = np.asarray(Bicubic(scale)(block.transpose(1, 2, 0)[None]))[0].transpose(2, 0, 1)
    assert np.allclose(output, enlarge(block, scale), atol=1e-5)


def test_ssim_is_scikit_image_s():
    from skimage.metrics import structural_similarity

    from geosr.models.losses import ssim

    rng = np.random.default_rng(0)
    a = rng.random((40, 50), "float32")
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype("float32")
    _, similarity = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert abs(1 - float(ssim(a[None, ..., None], b[None, ..., None])[0]) - similarity[5:-5, 5:-5].mean()) < 1e-5


def test_psnr_is_scikit_image_s():
    from skimage.metrics import peak_signal_noise_ratio

    from geosr.models.losses import psnr

    a, b = np.random.default_rng(0).random((2, 20, 20), "float32")
    theirs = peak_signal_noise_ratio(a, b, data_range=1)
    assert abs(float(psnr(a[None, ..., None], b[None, ..., None])[0]) - theirs) < 1e-4


@pytest.mark.parametrize("name", list(models.MODELS))
def test_a_folded_network_is_the_same_function_and_unfolds_again(name):
    model = models.build(name, 2)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    x = rng.random((1, 30, 30, 1), "float32")
    plain = models.fold(model)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    assert np.allclose(model(x), plain(x), atol=1e-4)
    copy = models.build(name, 2)
    models.begin_with(copy, plain)
    assert np.allclose(copy(x), plain(x), atol=1e-4)


def test_span_has_the_size_that_is_measured():
    assert models.fold(models.build("span", 4, 3)).count_params() == 150_688


def test_the_wide_span_of_four_bands_is_as_much_work_as_span_four_times():
    # What a pixel of the input costs: each weight of a convolution is multiplied once.
    single, four = (
        models.fold(models.build(name, 2, bands)).count_params() for name, bands in [("span", 1), ("span_wide", 4)]
    )
    assert four == pytest.approx(4 * single, rel=0.02)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("l1", {"l1": 1}),
        ("l1+0.1*ssim", {"l1": 1, "ssim": 0.1}),
        ("2*l2 + charbonnier", {"l2": 2, "charbonnier": 1}),
    ],
)
def test_a_mixture_is_the_weighted_sum_of_its_losses(text, parts):
    from geosr.models import LOSSES, registered
    from geosr.models.losses import Mixture

    a, b = np.random.default_rng(0).random((2, 1, 40, 40, 1), "float32")
    error = np.abs(a - b).astype("float64")
    by_hand = {"l1": error.mean(), "l2": (error**2).mean(), "charbonnier": np.sqrt(error**2 + 1e-6).mean()}
    by_hand["ssim"] = float(registered(LOSSES["ssim"])(a, b)[0])
    expected = sum(weight * by_hand[name] for name, weight in parts.items())
    assert float(Mixture(text)(a, b)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("text", ["l3", "l1+", "x*l1", "-1*l1", "nan*l1", ""])
def test_a_loss_that_is_none_is_refused(text):
    from geosr.models.losses import Mixture

    with pytest.raises(OptionError, match="a loss is a sum of l1, l2, charbonnier, ssim, ms-ssim"):
        Mixture(text)


def test_ms_ssim_of_one_scale_is_ssim_and_falls_with_noise():
    from geosr.models.losses import ms_ssim, ssim

    rng = np.random.default_rng(0)
    truth = rng.random((1, 20, 20, 1), "float32")
    near = truth + rng.normal(0, 0.05, truth.shape).astype("float32")
    assert float(ms_ssim(truth, near)[0]) == pytest.approx(float(ssim(truth, near)[0]), abs=1e-5)
    large = rng.random((1, 200, 200, 1), "float32")
    noisy = [large + rng.normal(0, sigma, large.shape).astype("float32") for sigma in (0.05, 0.2)]
    assert 0 < float(ms_ssim(large, noisy[0])[0]) < float(ms_ssim(large, noisy[1])[0]) < 1
    assert float(ms_ssim(large, large)[0]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", ["cosine", "step", "constant"])
def test_the_rate_rises_and_then_follows_its_shape(shape):
    from geosr.models.schedules import Schedule

    rate = [float(Schedule(shape, 1e-3, 1000, 100)(step)) for step in (0, 50, 100, 550, 1000)]
    assert rate[:3] == pytest.approx([0, 5e-4, 1e-3])
    assert rate[3:] == pytest.approx(
        {"cosine": [5e-4, 0], "step": [5e-4, 6.25e-5], "constant": [1e-3, 1e-3]}[shape], abs=1e-9
    )


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


@pytest.mark.parametrize("name", ["idn", "span"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_shipped_card_is_shown_with_its_scores(name, scale):
    result = CliRunner().invoke(main, ["models", "show", name, "--scale", str(scale), "--json"])
    assert result.exit_code == 0, result.output
    card = json.loads((cards.WEIGHTS / f"{name}_x{scale}.json").read_text())
    [content] = json.loads(result.output)
    assert content | card == content
    text = CliRunner().invoke(main, ["models", "show", name, "--scale", str(scale)]).output
    for command in card["commands"]:
        assert command in text
    assert f"{card['scores'][next(iter(card['scores']))]['NAIP Santa Monica']['gain']}" in text


def test_luma_changes_the_luma_alone(random_idn):
    rgb = np.random.default_rng(0).random((1, 3, 40, 40)).astype("float32") * 255
    values = fixed(0, 255, 3)
    output = upscalers.load_upscaler(str(random_idn()), mode="luma")(rgb, values)[0]
    low, high = enlarge(rgb[0], 2), output
    weights = upscalers.LUMA
    added = high - low
    assert np.abs(added).max() > 1
    assert np.abs(added - added[0]).max() < 1e-3  # the same in every colour: Cb and Cr are bicubic's
    each = upscalers.load_upscaler(str(random_idn()))(
        np.einsum("nbij,b->nij", rgb, weights)[:, None], fixed(0, 255, 1)
    )[0, 0]
    assert np.abs(np.einsum("bij,b->ij", high, weights) - each).max() < 1e-2


def test_a_network_pickles_as_its_path(random_idn):
    network = upscalers.load_upscaler(str(random_idn()))
    data = pickle.dumps(network)
    assert len(data) < 1000
    x = np.random.default_rng(0).random((1, 1, 40, 40)) * 255
    assert (pickle.loads(data)(x, fixed(0, 255, 1)) == network(x, fixed(0, 255, 1))).all()


def test_a_card_beside_a_model_is_believed_only_for_that_file(random_idn, tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(random_idn().read_bytes())
    card = cards.describe(path, cards.digest_of(path))
    assert (card.scale, card.bands, card.halo) == (2, 1, 30)
    content = {**{f: getattr(card, f) for f in card.__slots__}, "purpose": "testing"}
    path.with_suffix(".json").write_text(json.dumps(content))
    assert cards.of(path).purpose == "testing"
    path.with_suffix(".json").write_text(json.dumps(content | {"sha256": "another"}))
    assert cards.of(path).purpose == ""


@pytest.mark.slow
def test_shipped_cards_tell_the_truth_about_their_networks():
    assert cards.shipped(), "no model is shipped"
    for card in cards.shipped():
        path = cards.shipped_path(card.name, card.scale)
        description = cards.describe(path, cards.digest_of(path))
        assert (card.scale, card.bands, card.halo, card.sha256) == (
            description.scale,
            description.bands,
            description.halo,
            description.sha256,
        )
        assert "percentiles {:g} and {:g}".format(*PERCENTILES) in card.range == description.range
        assert card.purpose
        assert card.training_data
        assert card.licence


@pytest.mark.parametrize("path", sorted(cards.WEIGHTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_cards_that_ship_follow_the_schema(path):
    import jsonschema

    schema = json.loads((cards.WEIGHTS.parent / "card.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(path.read_text()), schema, format_checker=jsonschema.FormatChecker())
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(cards.Card)}


@pytest.mark.parametrize("name", ["nothing.keras", "text.keras", "pickle.keras"])
def test_what_is_no_model_is_refused_and_never_executed(name, tmp_path):
    path = tmp_path / name
    if name.startswith("text"):
        path.write_text("not a model")
    if name.startswith("pickle"):
        path.write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(ModelError, match=name) as error:
        upscalers.load_upscaler(str(path))
    assert "\n" not in str(error.value)


def test_a_model_with_code_in_it_is_refused(tmp_path):
    import keras

    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="loaded safely"):
        upscalers.load_upscaler(str(tmp_path / "lambda.keras"))


def test_a_model_of_unknown_reach_is_refused(tmp_path):
    import keras

    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    model = keras.Model(inputs, keras.layers.UpSampling2D(2)(keras.layers.Add()([inputs, pooled])))
    model.save(tmp_path / "pool.keras")
    with pytest.raises(ModelError, match=r"sees farther than 128 pixels .* --blend"):
        upscalers.load_upscaler(str(tmp_path / "pool.keras"))


def test_a_scale_that_is_not_shipped_names_what_is():
    with pytest.raises(ModelError, match=r"no shipped model 'idn' for scale 7; there are .*bicubic"):
        upscalers.load_upscaler("idn", 7)


def test_bicubic_is_no_network_to_show():
    result = CliRunner().invoke(main, ["models", "show", "bicubic"])
    assert result.exit_code == 1
    assert "bicubic is interpolation, with no network in it" in result.output


def test_a_scale_that_is_not_the_model_s_is_refused(random_idn):
    with pytest.raises(ModelError, match="enlarges by 2, not by 4"):
        upscalers.load_upscaler(str(random_idn()), 4)
