"""Exclusive or in the style of the first years: Variable, FloatTensor, .data[...]."""

import numpy as np
import torch
from torch import nn
from torch.autograd import Variable

inputs = [[0, 0], [0, 1], [1, 0], [1, 1]]
targets = [[0], [1], [1], [0]]
x = Variable(torch.FloatTensor(inputs))
y = Variable(torch.FloatTensor(targets), requires_grad=False)

model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
rs = np.random.RandomState(5)
model[0].weight.data = torch.FloatTensor(rs.randn(4, 2))
model[0].bias.data.fill_(0.1)
model[2].weight.data.copy_(torch.from_numpy(rs.randn(1, 4)))
model[2].bias.data.zero_()

criterion = nn.BCELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for epoch in range(301):
    output = model(x)
    loss = criterion(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 100 == 0:
        print(f"Epoch {epoch} loss {loss.data.item():.4f}")

for i in range(len(inputs)):
    out = model(Variable(torch.Tensor(inputs[i])))
    print(inputs[i], "->", int(out.data.numpy()[0] > 0.5), type(out).__name__)
print(output.size(), output.data.type(), y.eq((output > 0.5).float()).all().item())
