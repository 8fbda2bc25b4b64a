"""Log-probabilities of chosen tokens, their gradient, and the entropy, against what autograd puts together."""

import torch

from rlhf.models.policy import _ChosenLogprobs


def test_the_gradient_is_one_hot_less_the_probabilities():
    torch.manual_seed(0)
    logits, chosen, weights = torch.randn(7, 11), torch.randint(0, 11, (7,)), torch.randn(7)
    gradients, found = [], []
    for ours in (True, False):
        given = logits.clone().requires_grad_()
        if ours:
            logprobs, entropy = _ChosenLogprobs.apply(given, chosen)
            assert not entropy.requires_grad
        else:
            every = given.log_softmax(-1)
            logprobs, entropy = every.gather(1, chosen[:, None])[:, 0], -(every.exp() * every).sum(-1)
        (logprobs * weights).sum().backward()
        gradients.append(given.grad)
        found.append(torch.stack([logprobs, entropy]).detach())
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)
