"""Grad-CAM against hand-computed maps, captum, and itself in its other form."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from rslib import models
from rslib.saliency import NotSaliency, degenerate, gradcam, resize, standardize
from rslib.saliency.gradcam import captured, general_form, last_feature_layer, linear_head


class Pooled(nn.Module):
    """Two feature maps, the image's channels 0 and 1, pooled and weighted: all is known by hand."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:2].view(2, 3, 1, 1))
            self.fc.weight.copy_(torch.tensor([[2.0, -4.0], [-1.0, 1.0]]))

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


@pytest.fixture
def image():
    """Channels 0 and 1 are (1, 0, 0, 0) and (0, 0.5, 0, 0)."""
    x = torch.zeros(1, 3, 2, 2)
    x[0, 0, 0, 0], x[0, 1, 0, 1] = 1.0, 0.5
    return x


@pytest.fixture
def resnet():
    torch.manual_seed(1)
    model = models.build("resnet18", width=8).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # timm starts each block's last at 0
    return model


@pytest.fixture
def batch():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_by_hand(image):
    # alpha = W / 4; class 0: (2/4) A0 - (4/4) A1.
    signed = gradcam(Pooled(), image, 0, relu=False)
    assert torch.allclose(signed, torch.tensor([[[0.5, -0.5], [0.0, 0.0]]]))
    assert torch.allclose(gradcam(Pooled(), image, 0), torch.tensor([[[0.5, 0.0], [0.0, 0.0]]]))
    # The logits are 2/4 - 4 * 0.5/4 = 0 and -1/4 + 0.5/4 < 0, so class 0 is predicted.
    assert torch.equal(gradcam(Pooled(), image), gradcam(Pooled(), image, 0))


def test_the_two_forms_are_equal(resnet, batch):
    layer = last_feature_layer(resnet, batch)
    with captured(layer) as outputs:
        logits = resnet(batch)
    (features,) = outputs
    assert linear_head(resnet, features, logits) is not None
    target = logits.argmax(1)
    assert torch.allclose(
        gradcam(resnet, batch, relu=False),
        general_form(features, logits, target).detach(),
        atol=1e-6,
    )


@pytest.mark.parametrize("layer", [None, "network.layer3", "network.layer2.1.conv1"])
def test_equal_to_captum(resnet, batch, layer):
    from captum.attr import LayerGradCam

    target = torch.tensor([1, 5, 9])
    found = layer and dict(resnet.named_modules())[layer]
    theirs = LayerGradCam(resnet, found or resnet.network.layer4).attribute(
        batch, target=target, relu_attributions=True
    )
    ours = gradcam(resnet, batch, target, layer=layer)
    assert ours.shape == theirs.squeeze(1).shape
    assert torch.allclose(ours, theirs.squeeze(1).detach(), atol=1e-6)


@pytest.mark.parametrize("layer", ["network.layer4", "network.layer3"])
def test_equal_to_pytorch_grad_cam(resnet, batch, layer):
    """It resizes, subtracts each map's least value and divides by the largest."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from rslib.saliency import resize

    target = torch.tensor([1, 5, 9])
    wanted = [ClassifierOutputTarget(int(each)) for each in target]
    with GradCAM(model=resnet, target_layers=[dict(resnet.named_modules())[layer]]) as cam:
        theirs = torch.from_numpy(cam(input_tensor=batch, targets=wanted))
    ours = resize(gradcam(resnet, batch, target, layer=layer), (32, 32))
    ours = ours - ours.amin((1, 2), keepdim=True)
    ours = ours / (ours.amax((1, 2), keepdim=True) + 1e-7)
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("layer", ["network.blocks.0.norm1", "network.blocks.1.norm1"])
def test_tokens_of_a_transformer_equal_pytorch_grad_cams(batch, layer):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from rslib.saliency import resize

    torch.manual_seed(0)
    vit = models.build("vit_small", dim=16, depth=2, heads=2, patch=4).eval()
    target = torch.tensor([1, 5, 9])

    def grid(tokens):
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (8, 8))

    found = dict(vit.named_modules())[layer]
    with GradCAM(model=vit, target_layers=[found], reshape_transform=grid) as cam:
        theirs = torch.from_numpy(
            cam(input_tensor=batch, targets=[ClassifierOutputTarget(int(t)) for t in target])
        )
    ours = gradcam(vit, batch, target, layer=layer)
    assert ours.shape == (3, 8, 8)
    ours = resize(ours, (32, 32))
    ours = ours - ours.amin((1, 2), keepdim=True)
    ours = ours / (ours.amax((1, 2), keepdim=True) + 1e-7)
    # Signs may cancel to a map of zeros under the ReLU; where one varies they agree.
    assert torch.allclose(ours, theirs, atol=1e-3)


def test_only_the_classifiers_own_features_have_the_closed_form(resnet, batch):
    with captured(resnet.network.layer3) as outputs:
        logits = resnet(batch)
    assert linear_head(resnet, outputs[0], logits) is None


def test_a_batch_is_its_images_one_by_one(resnet, batch):
    whole = gradcam(resnet, batch, layer="network.layer3")
    for row, image in enumerate(batch):
        single = gradcam(resnet, image[None], layer="network.layer3")
        assert torch.allclose(whole[row], single[0], atol=1e-6)


@pytest.mark.parametrize("layer", [None, "network.layer3"])
def test_every_parameter_up_to_the_map_gets_a_gradient(resnet, batch, layer):
    target = torch.tensor([0, 1, 2])
    maps = gradcam(resnet, batch, target, layer=layer, relu=False, create_graph=True)
    mse_loss(torch.sigmoid(maps), torch.ones_like(maps)).backward()
    for name, parameter in resnet.named_parameters():
        # A bias of the classifier shifts the score and no map.
        assert (parameter.grad is not None) == (name != "network.fc.bias"), name
        # Behind the layer the net is piecewise linear: shifts leave the weights of equation 6.
        shift = layer is not None and name.startswith("network.layer4") and "bias" in name
        if parameter.grad is not None and not shift:
            assert parameter.grad.abs().sum() > 0, name


def test_finite_differences_confirm_the_gradient():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)
    ).double()
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    weight = model[0].weight
    target = torch.tensor([0, 1])

    def loss():
        maps = gradcam(model, x, target, layer="2", relu=False, create_graph=True)
        return mse_loss(torch.sigmoid(maps), torch.zeros_like(maps))

    loss().backward()
    for place in [(0, 0, 0, 0), (1, 2, 1, 1), (2, 1, 2, 0)]:
        slope, step = weight.grad[place].item(), 1e-5
        with torch.no_grad():
            weight[place] += step
        above = loss().item()
        with torch.no_grad():
            weight[place] -= 2 * step
        below = loss().item()
        with torch.no_grad():
            weight[place] += step
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_the_model_is_given_back_as_it_was(resnet, batch):
    resnet.train()
    resnet.network.bn1.eval()
    running = resnet.network.layer1[0].bn1.running_mean.clone()
    with torch.inference_mode():
        maps = gradcam(resnet, batch)
    assert not maps.requires_grad and not maps.is_inference()
    assert resnet.training and not resnet.network.bn1.training
    assert torch.equal(resnet.network.layer1[0].bn1.running_mean, running)
    with pytest.raises(ValueError, match="feature map"):
        gradcam(resnet, batch, layer="network.fc")
    assert not any(module._forward_hooks for module in resnet.modules())
    assert resnet.training


def test_what_cannot_be_explained(resnet, batch):
    vit = models.build("vit_small", dim=16, depth=1, heads=2, patch=8)
    with pytest.raises(ValueError, match="ends in tokens.*attention_rollout"):
        gradcam(vit, batch)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    with pytest.raises(ValueError, match="no convolution"):
        gradcam(flat, batch)
    with pytest.raises(KeyError, match="no layer 'network.layer5'; did you mean 'network.layer.'"):
        gradcam(resnet, batch, layer="network.layer5")
    with pytest.raises(ValueError, match="target holds 10; classes run from 0 to 9"):
        gradcam(resnet, batch, 10)
    with pytest.raises(ValueError, match=r"target is torch.int64 \(2,\)"):
        gradcam(resnet, batch, torch.tensor([1, 2]))
    twice = nn.Conv2d(3, 3, 1)

    class Repeats(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.fc = twice, nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(self.layer(self.layer(x)).mean((2, 3)))

    with pytest.raises(ValueError, match="ran 2 times"):
        gradcam(Repeats(), batch, layer="layer")


def test_constant_maps_are_counted_and_nan_is_refused():
    maps = torch.stack([torch.zeros(2, 2), torch.eye(2)])
    assert degenerate(maps).tolist() == [True, False]
    maps[1, 0, 0] = torch.nan
    for function in (degenerate, standardize, lambda m: resize(m, (4, 4))):
        with pytest.raises(NotSaliency, match="1 of 2 saliency maps hold NaN"):
            function(maps)
    with pytest.raises(NotSaliency, match=r"float tensor \(B, h, w\)"):
        degenerate(torch.zeros(2, 2))


def test_standardized_maps():
    maps = torch.tensor([[[0.0, 2.0], [4.0, 6.0]], [[1.0, 1.0], [1.0, 1.0]]])
    found = standardize(maps)
    assert torch.allclose(found[0].flatten(), torch.tensor([-3.0, -1.0, 1.0, 3.0]) / 5**0.5)
    assert torch.equal(found[1], torch.zeros(2, 2))
    assert torch.allclose(standardize(7 * maps + 3)[0], found[0], atol=1e-5)
    flat = torch.ones(1, 2, 2, requires_grad=True)
    standardize(flat).sum().backward()
    assert flat.grad.isfinite().all()


def test_features_pooled_otherwise_have_no_closed_form(image):
    class Largest(Pooled):
        """The classifier takes the largest value of a feature map, not its mean."""

        def forward(self, x):
            return self.fc(self.features(x).amax((2, 3)))

    # The gradient lies at the largest value alone, so its mean over four places is W / 4, as if
    # pooled by the mean; with two places alike it is shared between them, and W / 4 again. Of the
    # sum of squares it is 2 A W, whose mean is that of the map.
    class Squares(Pooled):
        def forward(self, x):
            return self.fc(self.features(x).square().sum((2, 3)))

    for model in (Largest(), Squares()):
        with captured(model.features) as outputs:
            logits = model(image)
        assert linear_head(model, outputs[0], logits) is None
    # Means of 2 A: 0.5 and 0.25, so class 0 weighs the maps by 2 * 0.5 and -4 * 0.25.
    found = gradcam(Squares(), image, 0, layer="features", relu=False)
    assert torch.allclose(found, torch.tensor([[[1.0, -0.5], [0.0, 0.0]]]))
