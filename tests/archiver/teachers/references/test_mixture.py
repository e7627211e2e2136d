"""The mixture's density is that of its definition, whatever the units and however few the samples."""

import math
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from calpow.archiver.teachers.references.mixture import MOST_COMPONENTS, fit_mixture
from calpow.handler.leakage.references import Mixture


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Fit as fit_references does: threads that wait for each other take many times as long."""
    with threadpool_limits(1):
        yield


def log_densities(mixture: Mixture, inputs: Tensor) -> Tensor:
    """Return the log densities of pooled inputs `[n, p]` as Mixture defines them."""
    projected = (inputs - mixture.centre) @ mixture.axes
    offsets = torch.einsum("nd,kde->nke", projected, mixture.whitening) - mixture.means
    return (mixture.log_weights - offsets.square().sum(dim=2) / 2).logsumexp(dim=1)


def table(n: int, seed: int = 0) -> Tensor:
    """Return rows of three columns in different units, of which the last follows from the first."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, generator=generator)
    second = 1e4 + 500 * torch.randn(n, generator=generator)
    return torch.stack([first, second, 1e-3 * (2 * first + 0.1 * torch.randn(n, generator=generator))], dim=1)


@pytest.mark.parametrize(("is_image", "error"), [(True, 1e-2), (False, 5e-2)])
def test_few_samples_have_one_gaussian(*, is_image: bool, error: float) -> None:
    inputs = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    mixture = fit_mixture(inputs, 1, is_image=is_image, seed=0)
    centred = inputs.double() - inputs.double().mean(dim=0)
    variances = centred.square().mean(dim=0)
    deviations = (variances.mean() if is_image else variances).sqrt()
    # As in the fit, a small part of the mean variance is added on each axis.
    covariance = (centred / deviations).T @ (centred / deviations) / 20 + 5e-4 * torch.eye(3)
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance)
    assert len(mixture.log_weights) == 1
    expected = gaussian.log_prob(centred / deviations).float()  # type: ignore[no-untyped-call]  # torch
    # In a table, the noise between neighbouring values of so few samples shows a little.
    assert torch.allclose(log_densities(mixture, inputs), expected, atol=error)


def test_rows_that_break_the_tables_dependence_are_less_dense() -> None:
    mixture = fit_mixture(table(600), 1, is_image=False, seed=0)
    legitimate = table(300, seed=1)
    odd = legitimate.clone()
    odd[:, 2] = odd[torch.randperm(300, generator=torch.Generator().manual_seed(2)), 2]
    threshold = log_densities(mixture, legitimate).quantile(0.05)
    assert (log_densities(mixture, odd) < threshold).double().mean() > 0.7


def categorised(n: int, seed: int) -> Tensor:
    """Return rows of a size, its square with an error, and two categories as columns of zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    size = (0.5 * torch.randn(n, generator=generator)).exp()
    square = size.square() * (0.1 * torch.randn(n, generator=generator)).exp()
    categories = [torch.eye(k)[torch.randint(k, (n,), generator=generator)] for k in (5, 7)]
    return torch.cat([size[:, None], square[:, None], *categories], dim=1)


def test_categories_do_not_hide_that_numbers_do_not_belong_together() -> None:
    mixture = fit_mixture(categorised(4_000, 0), 1, is_image=False, seed=0)
    legitimate, odd = categorised(1_000, 1), categorised(1_000, 2)
    spread = torch.distributions.MultivariateNormal(odd[:, :2].mean(dim=0), odd[:, :2].T.cov())
    torch.manual_seed(0)
    odd[:, :2] = spread.sample((1_000,))
    threshold = log_densities(mixture, legitimate).quantile(0.03)
    assert (log_densities(mixture, odd) < threshold).double().mean() > 0.3


def test_a_category_that_does_not_go_with_the_numbers_is_less_dense() -> None:
    def rows(seed: int, *, swapped: bool) -> Tensor:
        number = 4 * torch.randn(2_000, generator=torch.Generator().manual_seed(seed))
        large = (number > 0) ^ swapped
        return torch.stack([number, large.float(), (~large).float()], dim=1)

    mixture = fit_mixture(rows(0, swapped=False), 1, is_image=False, seed=0)
    threshold = log_densities(mixture, rows(1, swapped=False)).quantile(0.03)
    assert (log_densities(mixture, rows(2, swapped=True)) < threshold).double().mean() > 0.8


def test_units_of_columns_do_not_matter() -> None:
    inputs = table(100)
    scaled = inputs * torch.tensor([1e-3, 1e2, 1e6])
    plain = fit_mixture(inputs, 1, is_image=False, seed=0)
    other = fit_mixture(scaled, 1, is_image=False, seed=0)
    assert torch.allclose(log_densities(plain, inputs), log_densities(other, scaled), atol=0.1)


@pytest.mark.parametrize("is_image", [True, False])
@pytest.mark.parametrize("n", [2, 5, 120])
def test_any_number_of_samples_and_constant_columns_leave_finite_numbers(n: int, *, is_image: bool) -> None:
    inputs = torch.rand(n, 6, generator=torch.Generator().manual_seed(0))
    inputs[:, 0] = 1.0
    for values in (inputs, torch.full_like(inputs, 0.5)):
        mixture = fit_mixture(values, 1, is_image=is_image, seed=0)
        assert 1 <= len(mixture.log_weights) <= MOST_COMPONENTS
        assert log_densities(mixture, values).isfinite().all()


def test_groups_of_inputs_become_components() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    mixture = fit_mixture(centres.repeat(100, 1) + noise, 1, is_image=True, seed=0)
    between = torch.tensor([[25.0, 25.0]])
    assert log_densities(mixture, between) < log_densities(mixture, centres).min() - math.log(1e6)
