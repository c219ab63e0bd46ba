"""The random model with large weights, under our model class and under stock HFLM."""

import pytest
import torch

from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenizer import load_tokenizer
from tests.unit.evaluation.stock import lms, loud


@pytest.fixture(scope="module")
def model(random_model):
    return loud(load_model(random_model, torch.float32))


@pytest.fixture(scope="module")
def plain(random_model, model):
    return lms(model, load_tokenizer(random_model))
