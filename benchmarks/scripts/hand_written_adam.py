"""A network of plain tensors, with its forward pass, loss and Adam written by hand."""

from benchmarks.scripts.harness import log, torch

LOSSES = (8.24562, 8.17976, 9.12319)
SIZES = (8, 64, 64, 1)

weights = [(log.normal(n, m) * n**-0.5).requires_grad_() for n, m in zip(SIZES, SIZES[1:])]
biases = [torch.zeros(m, requires_grad=True) for m in SIZES[1:]]
parameters = weights + biases
means = [torch.zeros_like(p) for p in parameters]
squares = [torch.zeros_like(p) for p in parameters]
x = log.normal(1024, 8)
y = (x * x).sum(1, keepdim=True).sqrt()

for i in log.steps(1500):
    inputs, targets = x[i % 16 * 64 : i % 16 * 64 + 64], y[i % 16 * 64 : i % 16 * 64 + 64]
    h = inputs
    for weight, bias in zip(weights[:-1], biases[:-1]):
        h = torch.tanh(h @ weight + bias)
    loss = ((h @ weights[-1] + biases[-1] - targets) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for p, m, v in zip(parameters, means, squares):
            m.mul_(0.9).add_(p.grad, alpha=0.1)
            v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            m_hat, v_hat = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
            p -= 1e-3 * m_hat / (v_hat.sqrt() + 1e-8)
            p.grad = None
    log(loss)
