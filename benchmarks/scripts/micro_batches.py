"""A classifier whose gradients are accumulated over eight batches of 8 before each step of the optimizer."""

from benchmarks.scripts.harness import log, torch

nn, F = torch.nn, torch.nn.functional
LOSSES = (2.25703, 2.33058, 2.30677)
PARTS = 8


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(32, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


model = Classifier()
log.initialize(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
x = log.normal(1024, 32)
y = (x @ log.normal(32, 10)).argmax(1)

for i in log.steps(800):
    optimizer.zero_grad()
    total = torch.zeros(())
    for part in range(PARTS):
        start = (i % 16 * PARTS + part) * 8
        loss = F.nll_loss(model(x[start : start + 8]), y[start : start + 8]) / PARTS
        loss.backward()
        total += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    log(total)
