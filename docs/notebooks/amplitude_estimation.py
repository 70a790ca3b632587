# %% [markdown]
# # From a QGAN to an expected payoff
#
# A QGAN learns the distribution of a price and loads it into a quantum state. Amplitude estimation
# then estimates an expectation under this distribution, here the payoff of a European call option.
# This is the use that Zoufal, Lucchi and Woerner had in mind
# ([arXiv:1904.00043](https://arxiv.org/abs/1904.00043)). Besides qcaan, only Qiskit is needed.

# %%
import os

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import UCRYGate, grover_operator
from qiskit.primitives import StatevectorSampler

import qcaan

TOY = os.environ.get("QCAAN_TOY") == "1"

# %% [markdown]
# ## Load the distribution
#
# The price is log-normal. The QGAN sees samples, and learns the probabilities of the prices 0, 1,
# ..., 7 on three qubits.

# %%
n_samples, n_epochs = (1000, 2) if TOY else (20_000, 60)
samples = qcaan.load_samples("lognormal", n_samples, seed=1)
qgan = qcaan.QGAN(samples, bounds=[0, 7], n_qubits=[3], n_epochs=n_epochs, seed=1)
result = qgan.run()
prices = qgan.grid.points[:, 0]  # 0, 1, ..., 7
print(f"relative entropy {result['rel_entr']:.4f} nats after {n_epochs} epochs")
print("price  data   circuit")
for price, data, model in zip(prices, qgan.data_probs, qgan.pdf(), strict=True):
    print(f"{price:4.0f}   {data:.3f}  {model:.3f}")

# %% [markdown]
# ## Write the payoff into an amplitude
#
# The option pays max(0, price − 2). `qgan.circuit()` prepares the sum of √p(x) |x⟩. A rotation of
# one more qubit, controlled by x, gives this qubit the value 1 with probability payoff(x) / 5. So
# the chance of a 1 is the expected payoff over 5.

# %%
payoff = np.maximum(prices - 2, 0)
largest = payoff.max()
angles = 2 * np.arcsin(np.sqrt(payoff / largest))  # one for each of the eight prices

circuit = QuantumCircuit(4)
circuit.compose(qgan.circuit(), qubits=[0, 1, 2], inplace=True)
circuit.append(UCRYGate(angles.tolist()), [3, 0, 1, 2])  # the target first, then the controls
circuit.draw()

# %% [markdown]
# ## Estimate the amplitude
#
# The chance of a 1 is sin²(θ). Each Grover operator that follows the circuit adds 2θ to the angle,
# so that the chance becomes sin²((2k + 1) θ) after k of them. Circuits with several k are measured,
# and the θ that makes all results most likely is the estimate (Suzuki et al.,
# [arXiv:1904.10246](https://arxiv.org/abs/1904.10246)). No phase estimation is needed.

# %%
oracle = QuantumCircuit(4)
oracle.z(3)  # marks the states whose payoff qubit is 1
grover = grover_operator(oracle, state_preparation=circuit)

powers, shots = (0, 1, 2, 4, 8, 16), 200
measured = []
for k in powers:
    whole = QuantumCircuit(4, 1)
    whole.compose(circuit, inplace=True)
    for _ in range(k):
        whole.compose(grover, inplace=True)
    whole.measure(3, 0)
    measured.append(whole)
results = StatevectorSampler(seed=1).run(measured, shots=shots).result()
ones = [result.join_data().get_counts().get("1", 0) for result in results]
print(dict(zip(powers, ones, strict=True)))

# %%
theta = np.linspace(1e-6, np.pi / 2 - 1e-6, 100_001)
log_likelihood = np.zeros_like(theta)
for k, n_ones in zip(powers, ones, strict=True):
    chance = np.clip(np.sin((2 * k + 1) * theta) ** 2, 1e-12, 1 - 1e-12)
    log_likelihood += n_ones * np.log(chance) + (shots - n_ones) * np.log(1 - chance)
best = theta[log_likelihood.argmax()]
estimate = largest * np.sin(best) ** 2

# %% [markdown]
# ## Compare
#
# The exact value of the loaded distribution is what amplitude estimation can find at best. What is
# left is the error of the QGAN. Eight prices need no quantum computer, of course: this is how the
# parts fit together.

# %%
loaded = float(payoff @ qgan.pdf())
n_shots = shots * len(powers)
n_uses = shots * sum(2 * k + 1 for k in powers)  # a Grover operator uses the circuit twice
slope = largest * np.sin(2 * best)  # of the payoff in θ
error = slope / (2 * np.sqrt(shots * sum((2 * k + 1) ** 2 for k in powers)))
print(f"expected payoff of the samples, on the grid:     {payoff @ qgan.data_probs:.3f}")
print(f"expected payoff of the loaded distribution:      {loaded:.3f}")
print(f"amplitude estimation from {n_shots:,} shots:          {estimate:.3f} ± {error:.3f}")
print(
    f"error of {n_shots:,} shots of the circuit alone:           ± {slope / 2 / n_shots**0.5:.3f}"
)
print(f"error of as many uses of the circuit ({n_uses:,}):     ± {slope / 2 / n_uses**0.5:.3f}")
assert abs(estimate - loaded) < 0.1
