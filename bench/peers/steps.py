"""The benchmarked training steps in PyTorch, as its users write them.

Each function returns a callable that runs one step and returns its loss. Inputs are resident;
parameters have PyTorch's initial values.
"""

import torch
import torch.nn.functional as F


def mlp():
    """models/mnist_mlp.json: 784-512-256-10, batch 128, Adam in one fused kernel."""
    net = torch.nn.Sequential(
        torch.nn.Linear(784, 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, 10),
    )
    images = torch.rand(128, 784)
    labels = torch.randint(0, 10, (128,))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = net(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        return loss.detach(), (logits.argmax(1) == labels).float().mean()

    return step


def elementwise():
    """bench/graphs/elementwise.ir."""
    x = (2 * torch.rand(4096, 1024) - 1).requires_grad_()
    w = (2 * torch.rand(1024) - 1).requires_grad_()
    b = (2 * torch.rand(1024) - 1).requires_grad_()
    t = 2 * torch.rand(4096, 1024) - 1

    def step():
        x.grad = w.grad = b.grad = None
        h = F.dropout(F.gelu(x * w + b), 0.1, training=True)
        loss = (F.layer_norm(x + h, (1024,)) * t).mean()
        loss.backward()
        return loss.detach()

    return step
