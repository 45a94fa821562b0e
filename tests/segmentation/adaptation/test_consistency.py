"""Losses between models: hand-computed values, who learns, and where they could overflow."""

import copy
import math

import pytest
import torch
from torch import nn

from mmext.segmentation.adaptation import entropy_loss, parameter_distance, pixel_kl


def maps(seed=0, shape=(2, 3, 4, 5), dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_kl_of_hand_computed_pixels():
    """Two pixels: p = (3/4, 1/4) and (1/2, 1/2), q = (1/2, 1/2) both times."""
    p = torch.tensor([[0.75, 0.5], [0.25, 0.5]]).log().view(1, 2, 1, 2)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert pixel_kl(p, torch.zeros(1, 2, 1, 2)).item() == pytest.approx(expected, rel=1e-6)
    # The other way round it is another number.
    other = (math.log(2) - 0.5 * (math.log(1.5) + math.log(0.5)) - math.log(2)) / 2
    assert pixel_kl(torch.zeros(1, 2, 1, 2), p).item() == pytest.approx(other, rel=1e-5)


def test_kl_of_identical_models_is_nothing():
    logits = maps().requires_grad_()
    loss = pixel_kl(logits, logits)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert logits.grad.abs().max() < 1e-7
    assert pixel_kl(logits, logits + 7) < 1e-6  # a softmax does not see what all classes share


def test_softmax_goes_over_the_classes():
    """Adding a number to all classes of a pixel changes nothing, to all pixels of a row it would.

    With a softmax over the last dimension it is the other way round.
    """
    teacher, student = maps(0), maps(1)
    by_pixel, by_class = maps(2, (2, 1, 4, 5)), maps(3, (2, 3, 1, 1))
    expected = pixel_kl(teacher, student)
    torch.testing.assert_close(pixel_kl(teacher + by_pixel, student + by_pixel), expected)
    assert abs(pixel_kl(teacher, student + by_class) - expected) > 0.01
    torch.testing.assert_close(entropy_loss(student + by_pixel), entropy_loss(student))
    assert abs(entropy_loss(student + by_class) - entropy_loss(student)) > 0.01


def test_the_mean_is_over_pixels_only():
    """Twice the image is the same loss; more classes that nobody believes in are, too."""
    teacher, student = maps(0), maps(1)
    expected = pixel_kl(teacher, student)
    torch.testing.assert_close(
        pixel_kl(*(torch.cat([x, x], -1) for x in (teacher, student))), expected
    )
    unlikely = torch.full((2, 9, 4, 5), -100.0)
    torch.testing.assert_close(
        pixel_kl(*(torch.cat([x, unlikely], 1) for x in (teacher, student))), expected
    )


def test_only_the_student_learns():
    teacher, student = maps(0).requires_grad_(), maps(1).requires_grad_()
    pixel_kl(teacher, student).backward()
    assert teacher.grad is None
    # d KL / d logits of the student = (q - p) / pixels
    expected = (student.softmax(1) - teacher.softmax(1)).detach() / (2 * 4 * 5)
    torch.testing.assert_close(student.grad, expected)


def test_gradients_are_those_of_the_formulas():
    teacher, student = maps(0, dtype=torch.float64), maps(1, dtype=torch.float64).requires_grad_()
    ignore = maps(2, (2, 4, 5)) > 0
    assert torch.autograd.gradcheck(lambda x: pixel_kl(teacher, x, 2.0, ignore), student)
    assert torch.autograd.gradcheck(lambda x: entropy_loss(x, ignore), student)
    assert pixel_kl(teacher, student).dtype == torch.float64


def test_temperature_softens_both_and_keeps_the_size_of_gradients():
    teacher, student = maps(0), maps(1).requires_grad_()
    torch.testing.assert_close(
        pixel_kl(teacher, student, 2.0), 4 * pixel_kl(teacher / 2, student / 2)
    )
    hot = torch.autograd.grad(pixel_kl(teacher, student, 1e3), student)[0]
    # Of an infinite temperature: differences of centred logits over C.
    centred = [x - x.mean(1, keepdim=True) for x in (student.detach(), teacher)]
    torch.testing.assert_close(hot, (centred[0] - centred[1]) / 3 / 40, rtol=0.01, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    teacher = (1e4 * maps(0).sign()).to(dtype)
    student = (1e4 * maps(1).sign()).to(dtype).requires_grad_()
    for loss in (pixel_kl(teacher, student), entropy_loss(student)):
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert loss >= 0
        assert torch.autograd.grad(loss, student)[0].isfinite().all()
    assert pixel_kl(teacher, student) > 1e3


def test_autocast_does_not_lower_the_precision():
    teacher, student = maps(0), maps(1)
    expected = pixel_kl(teacher, student), entropy_loss(student)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pixel_kl(teacher, student), entropy_loss(student)
    assert found == expected


def test_entropy_of_hand_computed_pixels():
    """One pixel with 1/2, 1/4, 1/4, one certain."""
    logits = torch.tensor([[0.5, 1.0], [0.25, 0.0], [0.25, 0.0]]).clamp(1e-30).log()
    expected = 1.5 * math.log(2) / math.log(3) / 2
    assert entropy_loss(logits.view(1, 3, 1, 2)).item() == pytest.approx(expected, rel=1e-6)
    assert entropy_loss(torch.zeros(1, 19, 3, 3)).item() == pytest.approx(1, rel=1e-6)


def test_ignored_pixels_do_not_count():
    teacher, student = maps(0), maps(1).requires_grad_()
    ignore = torch.zeros(2, 4, 5, dtype=torch.bool)
    ignore[..., 2:] = True
    for loss, expected in (
        (pixel_kl(teacher, student, ignore=ignore), pixel_kl(teacher[..., :2], student[..., :2])),
        (entropy_loss(student, ignore), entropy_loss(student[..., :2])),
    ):
        torch.testing.assert_close(loss, expected)
        assert (torch.autograd.grad(loss, student)[0][..., 2:] == 0).all()
    nothing = pixel_kl(teacher, student, ignore=torch.ones_like(ignore))
    nothing.backward()
    assert nothing == 0
    assert (student.grad == 0).all()


def networks():
    torch.manual_seed(0)
    one = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3))
    return one, copy.deepcopy(one)


@pytest.mark.parametrize("p", [1, 2])
def test_distance_is_a_mean_over_all_numbers(p):
    """4 + 4 + 57 numbers, of which the 54 weights of the last convolution differ by -3."""
    one, other = networks()
    other[1].running_mean += 5  # buffers do not count
    assert parameter_distance(one, other, p) == 0
    with torch.no_grad():
        other[2].weight += 3
    assert parameter_distance(one, other, p).item() == pytest.approx(3**p * 54 / 65, rel=1e-5)


@pytest.mark.parametrize("detach", ["a", "b", None])
def test_distance_moves_whom_it_should(detach):
    one, other = networks()
    with torch.no_grad():
        other[2].weight += 3
    parameter_distance(one, other, detach=detach).backward()
    for name, model, sign in (("a", one, -1), ("b", other, 1)):
        if name == detach:
            assert all(parameter.grad is None for parameter in model.parameters())
        else:
            expected = torch.full_like(model[2].weight, sign * 2 * 3 / 65)
            torch.testing.assert_close(model[2].weight.grad, expected)


def test_distance_of_channels_last_weights():
    one, other = networks()
    assert parameter_distance(one, other.to(memory_format=torch.channels_last)) == 0


def test_bad_arguments_are_named():
    logits = maps()
    with pytest.raises(ValueError, match=r"teacher are \(2, 3, 4, 4\).*heads of the same stride"):
        pixel_kl(logits[..., :4], logits)
    with pytest.raises(ValueError, match=r"temperature is 0\. Expected a positive"):
        pixel_kl(logits, logits, 0)
    with pytest.raises(ValueError, match=r"Expected bool \(2, 4, 5\)"):
        pixel_kl(logits, logits, ignore=logits[:, 0])
    with pytest.raises(ValueError, match=r"logits are \(2, 1, 4, 5\)"):
        entropy_loss(logits[:, :1])
    one, _ = networks()
    with pytest.raises(ValueError, match=r"2 parameters are in one.*such as 2\.bias, 2\.weight"):
        parameter_distance(one, one[:2])
    with pytest.raises(ValueError, match="detach 'student'"):
        parameter_distance(one, one, detach="student")
