"""The contract of an architecture, as a test suite.

Subclass :class:`SeamlessArchitectureContract` for a network whose output does not depend on where in a block something
lies, as blockwise prediction needs it, else :class:`ArchitectureContract`, and give it a small network::

    class TestMyArchitecture(SeamlessArchitectureContract):
        @pytest.fixture
        def architecture(self):
            return MyArchitecture(MyArchitectureConfig("mine", ...))
"""

from __future__ import annotations

import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import Architecture
from dacapo.experiments.architectures.architecture import compute_shape


def noise(architecture: Architecture, shape: Coordinate, batch: int = 1) -> torch.Tensor:
    """Return a random batch for an architecture."""
    return torch.rand(batch, architecture.num_in_channels, *shape)


class ArchitectureContract:
    """Laws of shapes, channels and gradients."""

    @pytest.fixture
    def architecture(self) -> Architecture:
        """Return a network with random weights, in training mode."""
        raise NotImplementedError

    def test_shapes_and_channels_are_plain(self, architecture: Architecture) -> None:
        assert isinstance(architecture.input_shape, Coordinate)
        assert isinstance(architecture.eval_shape_increase, Coordinate)
        assert architecture.dims == architecture.input_shape.dims == architecture.eval_shape_increase.dims
        assert min(architecture.input_shape) > 0
        assert min(architecture.eval_shape_increase) >= 0
        assert architecture.num_in_channels > 0
        assert architecture.num_out_channels > 0

    def test_output_has_the_promised_channels_and_keeps_the_batch(self, architecture: Architecture) -> None:
        with torch.no_grad():
            out = architecture(noise(architecture, architecture.input_shape, batch=2))
        assert out.shape[:2] == (2, architecture.num_out_channels)
        assert out.dim() == 2 + architecture.dims

    def test_shape_is_known_without_running(self, architecture: Architecture) -> None:
        for shape in (architecture.input_shape, architecture.input_shape + architecture.eval_shape_increase):
            channels, traced = compute_shape(architecture, architecture.num_in_channels, shape)
            with torch.no_grad():
                out = architecture(noise(architecture, shape))
            assert (channels, *traced) == tuple(out.shape[1:])

    def test_every_parameter_gets_a_gradient(self, architecture: Architecture) -> None:
        architecture(noise(architecture, architecture.input_shape)).square().sum().backward()
        assert all(parameter.grad is not None for parameter in architecture.parameters())

    def test_input_is_left_unchanged(self, architecture: Architecture) -> None:
        x = noise(architecture, architecture.input_shape)
        before = x.clone()
        architecture(x)
        assert torch.equal(x, before)

    def test_scale_gives_voxels_that_divide_those_of_the_input(self, architecture: Architecture) -> None:
        voxel_size = Coordinate((48,) * architecture.dims)
        scaled = architecture.scale(voxel_size)
        assert isinstance(scaled, Coordinate)
        assert all(size % small == 0 for size, small in zip(voxel_size, scaled, strict=True))


class SeamlessArchitectureContract(ArchitectureContract):
    """The laws of every architecture, and that blocks fit together without a seam."""

    def test_halo_and_stride_make_blocks_fit_together(self, architecture: Architecture) -> None:
        """Two blocks that overlap agree, up to the halo from their own ends."""
        voxel_size = Coordinate((48,) * architecture.dims)
        scale = voxel_size / architecture.scale(voxel_size)
        shape, stride, halo = architecture.input_shape, architecture.stride, architecture.receptive_halo
        architecture.eval()
        for axis in range(architecture.dims):
            step = stride[axis]
            # Large enough for something to be left between the halos.
            while shape[axis] < 2 * halo[axis] + 2 * step:
                shape = shape + Coordinate(step if other == axis else 0 for other in range(architecture.dims))
            longer = shape + Coordinate(step if other == axis else 0 for other in range(architecture.dims))
            volume = noise(architecture, longer)
            with torch.no_grad():
                first = architecture(volume.narrow(axis + 2, 0, shape[axis]))
                second = architecture(volume.narrow(axis + 2, step, shape[axis]))
            enlarged, size = scale[axis], first.shape[axis + 2]
            margin = max(0, halo[axis] * enlarged - (shape[axis] * enlarged - size) // 2)
            shift = step * enlarged
            common = size - shift - 2 * margin
            assert common > 0
            one = first.narrow(axis + 2, shift + margin, common)
            other_one = second.narrow(axis + 2, margin, common)
            torch.testing.assert_close(one, other_one, atol=1e-5, rtol=1e-5)
