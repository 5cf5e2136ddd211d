from itertools import product

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv

from resnet_repro.data import epoch_draws, fit_transform, statistics

P, H, W = 2, 6, 5
TRAIN = torch.randint(256, (40, 3, H, W), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ALL = list(product(["channel", "pixel_mean", "none"], ["before", "after"]))


def fit(normalize="channel", pad="before", crop_padding=P, train=TRAIN, **kwargs):
    return fit_transform(train, normalize=normalize, pad=pad, crop_padding=crop_padding, **kwargs)


def batch(crop_padding=P):
    """30 images with every crop and both orientations among them."""
    draws = epoch_draws(0, 0, count=30, crop_padding=crop_padding, flip=True)
    dy, dx = draws.dy.clone(), draws.dx.clone()
    places = torch.cartesian_prod(torch.arange(2 * crop_padding + 1), torch.arange(2 * crop_padding + 1))
    dy[: len(places)], dx[: len(places)] = places.unbind(1)
    return draws.order, dy, dx, draws.flip


def normalised(image, normalize):
    """Of one float image in 0..1, by torchvision, with numpy's statistics."""
    pixels = TRAIN.numpy() / 255
    if normalize == "channel":
        return tv.normalize(image, pixels.mean((0, 2, 3)).tolist(), pixels.std((0, 2, 3)).tolist())
    return image - torch.from_numpy(pixels.mean(0)).float() if normalize == "pixel_mean" else image


def augmented(image, dy, dx, flip, normalize, pad):
    """Of one image, step by step, by torchvision."""
    image = image / 255
    if pad == "after":
        image = normalised(image, normalize)
    image = tv.crop(tv.pad(image, [P]), dy, dx, H, W)
    image = tv.hflip(image) if flip else image
    return normalised(image, normalize) if pad == "before" else image


@pytest.mark.parametrize(("normalize", "pad"), ALL)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_augment_does_what_torchvision_does_image_by_image(normalize, pad, memory_format):
    transform = fit(normalize, pad, memory_format=memory_format)
    order, dy, dx, flip = batch()
    got = transform.augment(transform.prepare(TRAIN), order, dy, dx, flip)
    samples = zip(order.tolist(), dy.tolist(), dx.tolist(), flip.tolist(), strict=True)
    expected = torch.stack([augmented(TRAIN[i], y, x, f, normalize, pad) for i, y, x, f in samples])
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("normalize", ["channel", "pixel_mean"])
def test_border_is_exactly_zero_if_padded_after_normalisation(normalize):
    transform = fit(normalize, "after")
    zero = torch.zeros(1, dtype=torch.int64)
    corner = transform.augment(transform.prepare(TRAIN), zero, zero, zero, zero.bool())
    assert not corner[:, :, :P].any()
    assert not corner[:, :, :, :P].any()
    assert corner[:, :, P:, P:].all()


@pytest.mark.parametrize("normalize", ["channel", "pixel_mean"])
def test_border_is_black_if_padded_before_normalisation(normalize):
    transform = fit(normalize, "before")
    zero = torch.zeros(1, dtype=torch.int64)
    corner = transform.augment(transform.prepare(TRAIN), zero, zero, zero, zero.bool())
    black = transform.clean(torch.zeros_like(TRAIN[:1]))
    assert torch.equal(corner[:, :, :P], black[:, :, :P])


@pytest.mark.parametrize(("normalize", "pad"), ALL)
def test_central_crop_equals_the_clean_image(normalize, pad):
    transform = fit(normalize, pad)
    centre, index = torch.full((40,), P), torch.arange(40)
    crop = transform.augment(transform.prepare(TRAIN), index, centre, centre, torch.zeros(40, dtype=torch.bool))
    assert torch.equal(crop, transform.clean(TRAIN))


@pytest.mark.parametrize("normalize", ["channel", "pixel_mean", "none"])
def test_clean_images_are_normalised_as_by_torchvision(normalize):
    got = fit(normalize, memory_format=torch.channels_last).clean(TRAIN)
    expected = torch.stack([normalised(image / 255, normalize) for image in TRAIN])
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_without_crop_padding_only_flips_remain():
    transform = fit("none", crop_padding=0)
    order, dy, dx, flip = batch(crop_padding=0)
    got = transform.augment(transform.prepare(TRAIN), order, dy, dx, flip)
    assert torch.equal(got[~flip], transform.clean(TRAIN[order[~flip]]))
    assert torch.equal(got[flip], transform.clean(TRAIN[order[flip]]).flip(-1))


def test_statistics_are_those_of_numpy():
    # Over 1,000 images: the mean image is summed in parts of 1,000.
    train = torch.randint(256, (1500, 2, 3, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pixels = train.numpy() / 255
    mean, std = statistics(train, "channel")
    np.testing.assert_allclose(mean.flatten(), pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std.flatten(), pixels.std((0, 2, 3)), rtol=1e-12)
    mean, std = statistics(train, "pixel_mean")
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    assert torch.equal(std, torch.ones(2, 1, 1, dtype=torch.float64))


def test_channel_normalised_training_set_has_mean_0_and_std_1():
    clean = fit().clean(TRAIN).double()
    torch.testing.assert_close(clean.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        clean.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_images_are_left_as_they_were():
    before = TRAIN.clone()
    transform = fit("pixel_mean", "after")
    crops = transform.prepare(TRAIN)
    first = transform.augment(crops, *batch())
    transform.clean(TRAIN)
    assert torch.equal(TRAIN, before)
    assert torch.equal(transform.augment(crops, *batch()), first)


@pytest.mark.parametrize("pad", ["before", "after"])
def test_augment_never_reads_values_so_that_it_never_waits_for_the_device(pad):
    # Tensors on "meta" have no values: anything that depends on them raises.
    transform = fit("channel", pad).to("meta")
    crops = transform.prepare(TRAIN.to("meta"))
    assert transform.augment(crops, *(t.to("meta") for t in batch())).shape == (30, 3, H, W)
    assert transform.clean(TRAIN.to("meta")).shape == TRAIN.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("normalize", "pad"), ALL)
def test_augment_replayed_from_a_cuda_graph_equals_the_cpu(normalize, pad):
    transform = fit(normalize, pad)
    expected = transform.augment(transform.prepare(TRAIN), *batch())
    there = transform.to("cuda")
    crops = there.prepare(TRAIN.cuda())
    inputs = [torch.zeros_like(t, device="cuda") for t in batch()]
    there.augment(crops, *inputs)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = there.augment(crops, *inputs)
    for static, value in zip(inputs, batch(), strict=True):
        static.copy_(value)
    graph.replay()
    torch.testing.assert_close(out.cpu(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"normalize": "std"}, "channel, pixel_mean, none"),
        ({"pad": "zero"}, "before, after"),
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"train": torch.full((9, 3, 4, 4), 7, dtype=torch.uint8)}, "normalize=none"),
    ],
)
def test_impossible_transforms_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        fit(**wrong)
