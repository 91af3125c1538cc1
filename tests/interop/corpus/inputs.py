"""Inputs of models that read more than token ids."""

import torch


def image(size=32, batch=2, channels=3):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def token_ids(length=9, batch=2, vocabulary=300, seed=3):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (batch, length), generator=generator)
    ids[:, -1] = 2  # an end of text, which some models look for
    mask = torch.ones_like(ids)
    mask[1:, -2:] = 0
    return ids, mask
